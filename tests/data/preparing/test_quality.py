"""The report of a prepared set: copies, outliers, people with several scans, every volume."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from voxflate.data import PreparedSet
from voxflate.data.prepared import Scan, to_stored
from voxflate.data.preparing.prepare import prepare
from voxflate.data.preparing.quality import copies_in, duplicates, look, outliers, several_scans
from voxflate.data.sources.source import Reading

SHAPE = (8, 16, 16)
WriteScan = Callable[..., Path]


def head(seed: int) -> Any:
    """A bright ball of random texture in air."""
    rng = np.random.default_rng(seed)
    i, j, k = np.indices((16, 16, 12))
    inside = ((i - 8) / 7) ** 2 + ((j - 8) / 7) ** 2 + ((k - 6) / 5) ** 2 < 1
    return (inside * rng.uniform(400, 600, inside.shape)).astype(np.int16)


@pytest.fixture
def prepared(tmp_path: Path, write_scan: WriteScan, write_series: Callable[..., Any]) -> PreparedSet:
    """Twelve heads; one twice under other names and in another format, one upside down, one bad."""
    folder = tmp_path / "in"
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    for index in range(12):
        write_scan(folder / f"sub-{index // 2:02d}" / f"{index}.nii.gz", head(index), affine)
    write_scan(folder / "again.nii", head(3), affine)
    dicom = np.flip(head(3).T, (1, 2))  # the same voxels once they are turned to RAS
    write_series(folder / "dicom", dicom, sides=(3.0, 2.0, 2.0), Modality="MR")
    crooked = head(99)
    crooked[:, :, 6:] = 0
    write_scan(folder / "crooked.nii", crooked, affine)
    (folder / "torn.nii").write_bytes(b"no image")
    return prepare(folder, tmp_path / "set", "mr", SHAPE, refuse=lambda error: None)


def test_copies_are_found_whatever_they_are_called(prepared: PreparedSet) -> None:
    scans = prepared.manifest.scans
    (group,) = copies_in(prepared)
    assert len(group) == 3
    assert len({scans[i].source_sha256 for i in group}) == 3
    assert len({scans[i].scan for i in group}) == 3


def test_people_with_several_scans_are_listed(prepared: PreparedSet) -> None:
    assert sorted(map(len, several_scans(prepared.manifest.scans).values())) == [2] * 6


def test_the_report_shows_every_volume_and_all_that_is_odd(prepared: PreparedSet) -> None:
    page = (prepared.root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)|url\(|@import', page)  # nothing to fetch
    assert "<script" not in page
    scans = prepared.manifest.scans
    pictures = re.findall(r'data:image/jpeg;base64,([^"]+)', page)
    assert len(pictures) == len(scans) == 15
    picture = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert np.asarray(picture).max() > 100
    for scan in scans:
        assert scan.scan in page
        assert scan.subject in page
    (left_out,) = prepared.manifest.left_out
    assert left_out.scan in page
    assert "cannot be read as NIfTI (...)" in left_out.reason
    assert "likeness to the mean volume" in page
    assert "12 \u00d7 16 \u00d7 16" in page


def test_the_crooked_one_and_no_other_is_unlike_the_rest(tmp_path: Path, prepared: PreparedSet) -> None:
    scans = prepared.manifest.scans
    looks = [
        look(volume[0], prepared.spacing)
        for split in ("train", "heldout")
        for volume in prepared.stored(split)
    ]
    odd = {one.index for one in outliers(scans, looks)}
    (index,) = odd
    assert looks[index].air > 0.7
    assert outliers(scans[:7], looks[:7]) == []


def test_one_scan_of_another_size_is_an_outlier_and_equal_ones_are_not() -> None:
    stored = to_stored(np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32))
    one = Scan("s", "train", "", np.eye(4).tolist(), (0.0, 100.0), "a", "h", (80, 96, 80), (2.0, 2.0, 2.0))
    thick = Scan("s", "train", "", np.eye(4).tolist(), (0.0, 100.0), "b", "i", (20, 96, 80), (8.0, 2.0, 2.0))
    looks = [look(stored, (2.0, 2.0, 2.0))] * 12
    assert outliers([one] * 12, looks) == []
    (found,) = outliers([one] * 11 + [thick], looks)
    assert (found.index, found.respect) == (11, "voxel volume, mm³")
    assert (found.value, found.median) == pytest.approx((32, 8))


def test_the_picture_has_left_on_the_left_and_front_up(tmp_path: Path) -> None:
    volume = np.full((10, 20, 30), -1, np.float32)
    volume[8:, 16:, 24:] = (
        1  # above, in front and on the right of the middle: seen only off the middle slices
    )
    volume[5, 16:, 24:] = 1
    content = look(to_stored(volume), (3.0, 3.0, 3.0)).picture
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert pixels.shape == (64, 96 + 4 + 96 + 4 + 64)
    bright = np.argwhere(pixels[:, :96] > 128).mean(axis=0)
    assert bright[0] < 32  # in front is up
    assert bright[1] > 48  # the subject's right is on the right


def test_the_histogram_leaves_air_out() -> None:
    volume = np.full(SHAPE, -1, np.float32)
    volume[0] = 0.51
    histogram = look(to_stored(volume), (1.0, 1.0, 1.0)).histogram
    assert histogram.sum() == pytest.approx(1)
    assert histogram.argmax() == int(0.75 * 64)


def test_nifti_copies_with_another_header_are_copies(tmp_path: Path, write_scan: WriteScan) -> None:
    write_scan(tmp_path / "in" / "a.nii", head(0))
    flipped = nib.Nifti1Image(head(0)[::-1], np.diag([-2.0, 2, 2, 1]))
    flipped.to_filename(tmp_path / "in" / "b.nii.gz")
    assert copies_in(prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE)) == [[0, 1]]


def test_a_scan_and_its_conversion_are_copies_though_their_affines_and_slopes_are_rounded(
    tmp_path: Path, write_scan: WriteScan, write_series: Callable[..., Any]
) -> None:
    """The sides of 3.27 mm are 3.2699999809 in NIfTI's 32 bits, and its slope has 32 bits too."""
    for index in range(3):
        dicom = np.flip(head(index).T, (1, 2))
        write_series(
            tmp_path / "in" / f"{index}", dicom, sides=(3.27, 0.9766, 0.9766), Modality="MR",
            RescaleSlope=2.347, PatientID=f"P{index}", StudyInstanceUID=f"1.2.{index + 1}",
        )  # fmt: skip
        affine = np.diag(np.float32([0.9766, 0.9766, 3.27, 1])).astype(np.float64)
        stored = np.asarray(head(index) * np.float64(np.float32(2.347)), np.float32)
        write_scan(tmp_path / "in" / f"{index}.nii", stored, affine)
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE, held_out=0)
    groups = copies_in(made)
    assert sorted(map(len, groups)) == [2, 2, 2]
    shapes = [[made.manifest.scans[index].source_sha256 for index in group] for group in groups]
    assert len({one for group in shapes for one in group}) == 6
    assert "3 scans are in the set more than once" in (made.root / "report.html").read_text(encoding="utf-8")


def test_scans_of_one_person_are_not_copies(tmp_path: Path, write_scan: WriteScan) -> None:
    rng = np.random.default_rng(5)
    for visit in range(3):
        again = head(0) + (head(0) > 0) * rng.normal(0, 15, head(0).shape)  # 3% noise
        write_scan(tmp_path / "in" / f"{visit}.nii", again.astype(np.float32))
    assert copies_in(prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE, held_out=0)) == []


def test_copies_form_groups_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    volumes = [rng.uniform(-1, 1, 64).astype(np.float32) for _ in range(5)]
    copies = [one + rng.uniform(-1e-4, 1e-4, 64).astype(np.float32) for one in volumes[:2]]
    assert duplicates([*volumes, copies[1], copies[0], volumes[1]]) == [[0, 6], [1, 5, 7]]
    assert duplicates(volumes) == duplicates(volumes[:1]) == duplicates([]) == []


@pytest.mark.parametrize("top", [200, 1000, -1000, 40000])
def test_copies_in_other_kinds_of_numbers_are_copies(tmp_path: Path, write_scan: WriteScan, top: int) -> None:
    integers = np.linspace(0, top, 16 * 16 * 12).astype(np.int32).reshape(16, 16, 12)
    kinds = [np.int32, np.float32, np.float64]
    kinds += [kind for kind in (np.uint8, np.int16, np.uint16) if (integers.astype(kind) == integers).all()]
    for index, kind in enumerate(kinds):
        image = nib.Nifti1Image(integers.astype(kind), np.eye(4), dtype=kind)
        (tmp_path / "in").mkdir(exist_ok=True)
        image.to_filename(tmp_path / "in" / f"{index}.nii")
    write_scan(tmp_path / "in" / "other.nii", np.sqrt(np.abs(integers)).astype(np.float32), np.eye(4))
    made = prepare(tmp_path / "in", tmp_path / "set", "mr", SHAPE, held_out=0)
    (group,) = copies_in(made)
    assert len(group) == len(kinds)
    assert len(made.manifest.scans) == len(kinds) + 1


def test_sizes_of_classes_are_those_of_each_scan_s_voxels(tmp_path: Path, write_scan: WriteScan) -> None:
    """Under coca the voxels of scans differ, so equal shares of the voxels are different volumes."""
    mask = np.zeros((16, 16, 8), np.uint8)
    mask[4:12, 4:12] = 1
    for number, side in enumerate((1.0, 2.0, 4.0)):
        affine = np.diag([side, side, 2.0, 1.0])
        hu = np.random.default_rng(number).uniform(-1000, 100, mask.shape).astype(np.float32)
        write_scan(tmp_path / "in" / f"{number}.nii.gz", hu, affine)
        write_scan(tmp_path / "in" / f"{number}_seg.nii.gz", mask, affine)
    prepare(tmp_path / "in", tmp_path / "set", "coca", SHAPE, reading=Reading(mask="*_seg*"))
    page = (tmp_path / "set" / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page[page.index("smallest, ml") :])
    sizes = [float(cell) for cell in cells[2:5]]
    assert sizes == pytest.approx([8 * 8 * 8 * 2 * side**2 / 1000 for side in (1, 2, 4)], rel=0.02)
