"""Scan and mask out again: the files, their places, and what other tools want to find."""

import json
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.strategies import write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data import prepare
from voxflate.data.channels import Channel, LabelColumn, Layout, mask_labels
from voxflate.data.prepared import PreparedSet
from voxflate.data.sources.source import Reading
from voxflate.data.writers.dicom_seg import write_dicom_channels
from voxflate.data.writers.layouts import LAYOUTS, write_pairs
from voxflate.data.writers.synthetic import PLAIN, Look

LAYOUT = Layout(
    (
        Channel("t1", intensity=(0.0, 900.0)),
        Channel("t2", intensity=(10.0, 50.0)),
        Channel("organ-2", "mask", label=2),
        Channel("organ-300", "mask", label=300),
    ),
    (LabelColumn("sex", ("F", "M")), LabelColumn("age", low=20, high=80, mean=50, deviation=10)),
)
LABELS = [{"sex": "F", "age": 61.25}, {"sex": "M", "age": 40.0}]
OBLIQUE = np.array([[2.0, -0.3, 0, 5], [0.3, 2.0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    return write_prepared(tmp_path / "prepared", layout=LAYOUT)


def load(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj).T


@pytest.mark.parametrize(
    ("layout", "t1", "t2", "mask"),
    [
        ("flat", "sample-0001_t1.nii.gz", "sample-0001_t2.nii.gz", "sample-0001_seg.nii.gz"),
        (
            "nnunet",
            "imagesTr/sample-0001_0000.nii.gz",
            "imagesTr/sample-0001_0001.nii.gz",
            "labelsTr/sample-0001.nii.gz",
        ),
        (
            "bids",
            "sub-0001/anat/sub-0001_T1w.nii.gz",
            "sub-0001/anat/sub-0001_T2w.nii.gz",
            "derivatives/masks/sub-0001/anat/sub-0001_dseg.nii.gz",
        ),
        (
            "monai",
            "images/sample-0001_t1.nii.gz",
            "images/sample-0001_t2.nii.gz",
            "labels/sample-0001.nii.gz",
        ),
    ],
)
def test_every_layout_holds_the_same_volumes(
    prepared: PreparedSet, tmp_path: Path, layout: str, t1: str, t2: str, mask: str
) -> None:
    volumes = prepared.volumes("train", [0, 1])
    out = tmp_path / "out"
    write_pairs(out, volumes, prepared, layout, LABELS, affines=[OBLIQUE, OBLIQUE], look=Look())
    for name in (t1, t2, mask):
        np.testing.assert_allclose(nib.load(out / name).affine, OBLIQUE, atol=1e-5)
        assert b"made by a generative network" in nib.load(out / name).header["descrip"].item()
    np.testing.assert_allclose(load(out / t1), 100 + (volumes[1, 0] + 1) * 100, rtol=1e-5)
    np.testing.assert_allclose(load(out / t2), 10 + (volumes[1, 1] + 1) * 20, rtol=1e-5)
    expected = mask_labels(volumes[1], LAYOUT)
    if layout == "nnunet":
        expected = np.searchsorted([0, 2, 300], expected)
    found = load(out / mask)
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == 3
    if layout == "flat":
        assert (out / "labels.csv").read_text().splitlines()[::2] == ["sample,sex,age", "sample-0001,M,40"]
        return
    table = (out / "participants.tsv").read_text().splitlines()
    assert table[0] == "participant_id\tsex\tage"
    assert table[2] == f"{'sub-0001' if layout == 'bids' else 'sample-0001'}\tM\t40"


def test_nnunet_finds_its_description(prepared: PreparedSet, tmp_path: Path) -> None:
    write_pairs(tmp_path / "out", prepared.volumes("train", [0, 1]), prepared, "nnunet")
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "t1", "1": "t2"}
    assert content["labels"] == {"background": 0, "organ-2": 1, "organ-300": 2}
    assert content["source_values"] == {"organ-2": 2, "organ-300": 300}
    assert (content["numTraining"], content["file_ending"]) == (2, ".nii.gz")
    assert not (tmp_path / "out" / "participants.tsv").exists()


@pytest.mark.parametrize("layout", ["nnunet", "bids", "monai"])
@pytest.mark.parametrize(("look", "word"), [(None, "Prepared scans"), (PLAIN, "Synthetic volumes")])
def test_a_folder_says_whether_its_volumes_are_synthetic(
    prepared: PreparedSet, tmp_path: Path, layout: str, look: Look | None, word: str
) -> None:
    write_pairs(tmp_path / "out", prepared.volumes("train", [0]), prepared, layout, look=look)
    texts = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("dataset*.json")]
    assert texts
    assert all(one.get("description", one.get("Name")).startswith(word) for one in texts)


@pytest.mark.parametrize("layout", ["bids", "monai"])
def test_what_was_written_can_be_prepared_again(prepared: PreparedSet, tmp_path: Path, layout: str) -> None:
    """By the patterns of a BIDS tree, or by the datalist: same channels, classes, labels and voxels."""
    volumes = prepared.volumes("train", [0, 1])
    out = tmp_path / "out"
    write_pairs(out, volumes, prepared, layout, LABELS)
    source, reading = {
        "bids": (
            out,
            Reading(
                channels={"t1": "*_T1w.nii*", "t2": "*_T2w.nii*"},
                mask="*_dseg.nii*",
                mask_name="organ",
                labels=("sex", "age:continuous"),
            ),
        ),
        "monai": (
            out / "dataset.json",
            Reading(
                channels={"t1": "image-0", "t2": "image-1"},
                mask="label",
                mask_name="organ",
                labels=("sex", "age:continuous"),
            ),
        ),
    }[layout]
    again = prepare(source, tmp_path / "again", "mr", (4, 8, 8), 0.0, reading=reading)
    assert [(one.name, one.label) for one in again.layout.channels] == [
        (one.name, one.label) for one in LAYOUT.channels
    ]
    found = [scan.labels for scan in again.manifest.scans]
    order = [next(i for i, one in enumerate(LABELS) if one == known) for known in found]
    labels = [mask_labels(volume, again.layout) for volume in again.volumes("train")]
    for index, label in zip(order, labels, strict=True):
        np.testing.assert_array_equal(label, mask_labels(volumes[index], LAYOUT))


def test_a_bids_tree_describes_itself(prepared: PreparedSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_pairs(out, prepared.volumes("train", [0]), prepared, "bids", LABELS[:1])
    described = json.loads((out / "dataset_description.json").read_text())
    assert (described["DatasetType"], described["BIDSVersion"]) == ("raw", "1.9.0")
    masks = out / "derivatives" / "masks"
    assert json.loads((masks / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert (masks / "dseg.tsv").read_text() == "index\tname\n0\tbackground\n2\torgan-2\n300\torgan-300\n"
    assert not (out / ".bidsignore").exists()
    one = write_prepared(tmp_path / "one")
    write_pairs(tmp_path / "ct", one.volumes("train", [0]), one, "bids")
    assert (tmp_path / "ct" / ".bidsignore").read_text() == "*_image.nii.gz\n"


ODD_NAMES = [
    ("平扫", "增强"), ("T1", "T1+"), ("pd", "PDw"), ("t1", "T1"), ("seg", "t1"), ("image1", "?"),
    ("x" * 300, "y"),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("names", ODD_NAMES)
def test_every_modality_has_a_file_whatever_its_name(
    tmp_path: Path, layout: str, names: tuple[str, str]
) -> None:
    images = tuple(Channel(name, intensity=(0.0, 2.0)) for name in names)
    prepared = write_prepared(
        tmp_path / "prepared", layout=Layout((*images, Channel("organ", "mask", label=1)))
    )
    volumes = prepared.volumes("train", [0])
    write_pairs(tmp_path / "out", volumes, prepared, layout)
    paths = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert len({path.name.lower() for path in paths}) == 3
    scans = [100 + (volumes[0, 0] + 1) * 100, volumes[0, 1] + 1]
    for expected in (*scans, mask_labels(volumes[0], prepared.layout)):
        assert sum(np.allclose(load(path), expected, rtol=1e-5) for path in paths) == 1
    if layout == "monai":
        (item,) = json.loads((tmp_path / "out" / "dataset.json").read_text())["training"]
        for file, expected in zip(item["image"], scans, strict=True):
            np.testing.assert_allclose(load(tmp_path / "out" / file), expected, rtol=1e-5)


def test_a_table_of_labels_has_every_digit_and_every_column(prepared: PreparedSet, tmp_path: Path) -> None:
    labels = [{"sample": "a", "mm3": 1523456.75}, {"sample": "b", "mm3": 20191203.0}]
    write_pairs(tmp_path / "out", prepared.volumes("train", [0, 1]), prepared, "flat", labels)
    lines = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    assert lines == ["sample_name,sample,mm3", "sample-0000,a,1523456.75", "sample-0001,b,20191203"]


def test_a_bids_suffix_stands_for_one_modality(tmp_path: Path) -> None:
    channels = tuple(Channel(name) for name in ("t2", "pd", "PDw"))
    prepared = write_prepared(tmp_path / "prepared", layout=Layout(channels))
    write_pairs(tmp_path / "out", prepared.volumes("train", [0]), prepared, "bids")
    found = sorted(path.name for path in (tmp_path / "out" / "sub-0000" / "anat").iterdir())
    assert found == [f"sub-0000_{tag}.nii.gz" for tag in ("T2w", "image1", "image2")]
    ignored = (tmp_path / "out" / ".bidsignore").read_text().splitlines()
    assert ignored == ["*_image1.nii.gz", "*_image2.nii.gz"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_channel_without_a_mask(tmp_path: Path, layout: str) -> None:
    prepared = write_prepared(tmp_path / "prepared")
    volumes = prepared.volumes("train", [0])
    if layout == "nnunet":
        with pytest.raises(VoxflateError, match="--layout nnunet: is for scans with masks"):
            write_pairs(tmp_path / "out", volumes, prepared, layout)
        assert not (tmp_path / "out").exists()
        return
    write_pairs(tmp_path / "out", volumes, prepared, layout)
    assert len([*(tmp_path / "out").rglob("*.nii.gz")]) == 1


def test_what_does_not_fit_is_refused_and_nothing_is_left(prepared: PreparedSet, tmp_path: Path) -> None:
    volumes = prepared.volumes("train", [0])
    with pytest.raises(VoxflateError, match="--layout icc: choose one of flat, nnunet, bids, monai"):
        write_pairs(tmp_path / "out", volumes, prepared, "icc")
    with pytest.raises(VoxflateError, match="the volume has 3 channels, the prepared set 4"):
        write_pairs(tmp_path / "out", volumes[:, :3], prepared)
    volumes[0, 3, 0, 0, 0] = np.nan
    with pytest.raises(VoxflateError, match="1 voxels are NaN"):
        write_pairs(tmp_path / "out", volumes, prepared)
    with pytest.raises(VoxflateError, match="a datalist has files under label"):
        write_pairs(tmp_path / "out", prepared.volumes("train", [0]), prepared, "monai", [{"label": "x"}])
    assert not (tmp_path / "out").exists()


def test_a_dicom_segmentation_marks_the_voxels_of_its_series(prepared: PreparedSet, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="pip install 'voxflate[dicom-seg]'")
    volume = prepared.volumes("train", [0])[0]
    affine = OBLIQUE
    write_dicom_channels(tmp_path / "out", volume, prepared, affine, look=PLAIN)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mask.dcm", "t1", "t2"]
    segmentation = highdicom.seg.segread(tmp_path / "out" / "mask.dcm")
    series = [pydicom.dcmread(path) for path in sorted((tmp_path / "out" / "t1").iterdir())]
    other = pydicom.dcmread(tmp_path / "out" / "t2" / "0001.dcm")
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert segmentation[name].value == series[0][name].value == other[name].value
    assert other.SeriesInstanceUID != series[0].SeriesInstanceUID
    descriptions = [
        segmentation.get_segment_description(i).SegmentLabel for i in segmentation.segment_numbers
    ]
    assert descriptions == ["organ-2 (2)", "organ-300 (300)"]
    referred = {one.SOPInstanceUID for one in series}
    assert {uid for _, _, uid in segmentation.get_source_image_uids()} <= referred
    # World positions of all marked voxels, from DICOM's own geometry (LPS) and from the label map.
    made = segmentation.get_volume(combine_segments=True)
    for number, value in ((1, 2), (2, 300)):
        index = np.argwhere(made.array == number)
        found = index @ made.affine[:3, :3].T + made.affine[:3, 3]
        d, h, w = np.nonzero(mask_labels(volume, LAYOUT) == value)
        wanted = np.stack([w, h, d], 1) @ affine[:3, :3].T + affine[:3, 3]
        found = found * [-1, -1, 1]
        assert len(found) == len(wanted) > 0
        np.testing.assert_allclose(
            sorted(found.round(3).tolist()), sorted(wanted.round(3).tolist()), atol=2e-3
        )


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (("平扫", "增强"), ["image0", "image1"]),
        (("T1", "T1+"), ["image0", "image1"]),
        (("../../escaped", "/proc/a"), ["escaped", "proca"]),
        (("T1\\post", "x" * 80), ["T1post", "x" * 40]),
    ],
)
def test_a_dicom_series_per_modality_stays_in_its_folder(
    tmp_path: Path, names: tuple[str, str], folders: list[str]
) -> None:
    """Names come from the user, or from a stranger's export."""
    layout = Layout(tuple(Channel(name, intensity=(0.0, 900.0)) for name in names))
    prepared = write_prepared(tmp_path / "prepared", layout=layout)
    write_dicom_channels(tmp_path / "new" / "out", prepared.volumes("train", [0])[0], prepared, look=PLAIN)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == folders
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "prepared"]
    for name, folder in zip(names, folders, strict=True):
        slice_ = pydicom.dcmread(tmp_path / "new" / "out" / folder / "0001.dcm")
        assert slice_.SeriesDescription == f"Synthetic MR {name}".replace("\\", " ")[:64]


def test_the_mask_of_a_scan_is_not_called_synthetic(prepared: PreparedSet, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="pip install 'voxflate[dicom-seg]'")
    write_dicom_channels(tmp_path / "out", prepared.volumes("train", [0])[0], prepared, look=None)
    mask = pydicom.dcmread(tmp_path / "out" / "mask.dcm")
    assert {one.SegmentAlgorithmType for one in mask.SegmentSequence} == {"MANUAL"}
    assert not any(b"synthetic" in path.read_bytes().lower() for path in (tmp_path / "out").rglob("*.dcm"))


def test_an_empty_mask_is_a_segmentation_without_marks(prepared: PreparedSet, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason="pip install 'voxflate[dicom-seg]'")
    volume = prepared.volumes("train", [0])[0]
    volume[2:] = -1
    write_dicom_channels(tmp_path / "out", volume, prepared, look=PLAIN)
    assert not highdicom.seg.segread(tmp_path / "out" / "mask.dcm").pixel_array.any()


def test_without_highdicom_the_extra_is_named(
    prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(VoxflateError, match=r"pip install 'voxflate\[dicom-seg\]'"):
        write_dicom_channels(tmp_path / "out", prepared.volumes("train", [0])[0], prepared, look=PLAIN)
    assert not (tmp_path / "out").exists()
