"""Volumes of another method: read like ours, refused where they cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from scipy import ndimage

from tests.evaluation.test_evaluator import SHAPE, blobs
from tests.evaluation.test_suite import a_set
from tests.reports.test_evaluations import voxflate
from tests.strategies import PAIRS, write_prepared
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.prepare import prepare
from voxflate.data.writers.nifti import write_nifti
from voxflate.evaluation.foreign import VolumeFolder, open_volumes

QUICK = ("--replicates", 5, "--volume-extractor", "none", "--no-tsne", "--set", "evaluation.extractor=random")


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    return a_set(tmp_path / "set", 16, 4)


@pytest.fixture
def folder(tmp_path: Path, prepared: PreparedSet) -> Path:
    for number, volume in enumerate(blobs(6, 5)[:, 0]):
        path = tmp_path / "theirs" / f"v{number}.nii.gz"
        write_nifti(path, volume, prepared, np.diag([*reversed(prepared.spacing), 1.0]))
    return tmp_path / "theirs"


def all_of(folder: Path, prepared: PreparedSet, **options: object) -> np.ndarray:
    volumes = open_volumes(folder, prepared, **options)  # type: ignore[arg-type]
    return np.concatenate(list(volumes.batches(4)))


def test_volumes_that_we_wrote_come_back(folder: Path, prepared: PreparedSet) -> None:
    found = all_of(folder, prepared)
    assert found.shape == (6, 1, *SHAPE)
    assert np.allclose(found, np.clip(blobs(6, 5), -1, 1), atol=1e-5)
    assert np.array_equal(all_of(folder, prepared, count=2), found[:2])


def test_any_orientation_gives_the_same_volumes(folder: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    image = nib.load(folder / "v0.nii.gz")
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(("P", "S", "L")))
    (tmp_path / "turned").mkdir()
    nib.save(turned, tmp_path / "turned" / "v0.nii.gz")
    assert np.allclose(all_of(tmp_path / "turned", prepared), all_of(folder, prepared)[:1])


def test_the_range_says_which_values_are_dark_and_bright(folder: Path, prepared: PreparedSet) -> None:
    wide = all_of(folder, prepared, value_range=(-1.0, 2.0))
    assert np.allclose(wide, (all_of(folder, prepared) / 2 + 0.5 + 1) * 2 / 3 - 1, atol=1e-5)
    clipped = open_volumes(folder, prepared, value_range=(0.2, 0.4))
    list(clipped.batches(4))
    assert "were clipped" in clipped.warnings[0]
    for value_range, message in (((0.0, 1e4), "a tiny part of the 0 to 10000"), ((1.0, 0.0), "below")):
        with pytest.raises(VoxflateError, match=message):
            all_of(folder, prepared, value_range=value_range)


def test_other_shapes_and_too_few_files_are_refused(folder: Path, prepared: PreparedSet) -> None:
    with pytest.raises(VoxflateError, match="has 6 volumes, 9 are needed"):
        open_volumes(folder, prepared, count=9)
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), folder / "v0.nii.gz")
    with pytest.raises(VoxflateError, match=r"v0\.nii\.gz: has 3x3x3 voxels"):
        open_volumes(folder, prepared)


def test_one_file_is_too_few_to_measure(folder: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    for number in range(1, 6):
        (folder / f"v{number}.nii.gz").unlink()
    shown = voxflate("evaluate", folder, "--data", prepared.root, "--out", tmp_path / "out", *QUICK, status=2)
    assert "at least 2 samples, got 1; raise evaluation.samples, or add volumes to the folder" in shown


def test_what_is_not_measured_is_said(folder: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    assert open_volumes(folder, prepared).warnings == []
    (folder / "more").mkdir()
    for name in ("v9.dcm", "about.json", ".hidden"):
        (folder / name).write_bytes(b"")
    expected = "not measured: 4 volumes after the first 2, 1 other file, 1 subfolder in the folder"
    assert open_volumes(folder, prepared, 2).warnings[0] == expected
    call = ("evaluate", folder, "--data", prepared.root, "--out", tmp_path / "out", "--dry-run")
    assert "6 volumes (not measured: 1 other file, 1 subfolder in the folder)" in voxflate(*call)


def test_every_format_that_we_read_is_measured(folder: Path, prepared: PreparedSet) -> None:
    expected = all_of(folder, prepared)
    SimpleITK.WriteImage(SimpleITK.ReadImage(folder / "v3.nii.gz"), folder / "v3.nrrd")  # type: ignore[no-untyped-call]
    (folder / "v3.nii.gz").unlink()
    assert np.allclose(all_of(folder, prepared), expected, atol=1e-5)


def test_the_hash_covers_voxels_beside_a_header(folder: Path, prepared: PreparedSet, tmp_path: Path) -> None:
    """An audit belongs to an evaluation of equal voxels, not of equal headers."""
    before = open_volumes(folder, prepared).content_hash
    (tmp_path / "two").mkdir()
    path = tmp_path / "two" / "v.mhd"
    SimpleITK.WriteImage(SimpleITK.ReadImage(folder / "v3.nii.gz"), path)  # type: ignore[no-untyped-call]
    hashes = [open_volumes(path.parent, prepared).content_hash]
    SimpleITK.WriteImage(SimpleITK.ReadImage(folder / "v4.nii.gz"), path)  # type: ignore[no-untyped-call]
    hashes.append(open_volumes(path.parent, prepared).content_hash)
    assert len({before, *hashes}) == 3


def test_the_voxel_size_of_every_volume_is_checked(folder: Path, prepared: PreparedSet) -> None:
    image = nib.load(folder / "v5.nii.gz")
    nib.save(nib.Nifti1Image(image.get_fdata(), image.affine @ np.diag([2, 1, 1, 1])), folder / "v5.nii.gz")
    (warning,) = open_volumes(folder, prepared).warnings
    assert "mm in 1 of 6 volumes, those of the real volumes" in warning


def test_volumes_are_compared_with_the_first_image_of_a_set_of_several_channels(tmp_path: Path) -> None:
    pairs = write_prepared(tmp_path / "pairs", layout=PAIRS, n_train=10)
    for number, volume in enumerate(pairs.volumes("train")[:, 0]):
        write_nifti(tmp_path / "theirs" / f"v{number}.nii.gz", volume, pairs)
    out, data = tmp_path / "out", ("--data", pairs.root)
    shown = voxflate("evaluate", tmp_path / "theirs", *data, "--out", out, *QUICK)
    assert "note: no features of whole volumes; add --volume-extractor radiomics" in shown
    assert "100 and 300 are read as the darkest" in shown
    found = json.loads((out / "metrics.json").read_text())
    assert found["facts"]["data"] == pairs.content_hash
    assert found["metrics"]["psnr-nearest"]["value"] > 60
    assert (out / "report.html").is_file()


def test_the_number_of_volumes_is_checked_like_the_setting(
    folder: Path, prepared: PreparedSet, tmp_path: Path
) -> None:
    call = ("evaluate", folder, "--data", prepared.root, "--out", tmp_path / "out", "--dry-run", "--set")
    for value in ("abc", "2.5", "-3", "1"):
        assert "--set: evaluation.samples = " in voxflate(*call, f"evaluation.samples={value}", status=2)
    assert "theirs: 6 volumes" in voxflate(*call, "evaluation.samples=0")
    assert "theirs: 3 volumes" in voxflate(*call, "evaluation.samples=3")
    assert "has 6 volumes, 9 are needed" in voxflate(*call, "evaluation.samples=9", status=2)


def test_running_out_of_memory_is_one_line(
    folder: Path, prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(VolumeFolder, "_read", full)
    call = ("evaluate", folder, "--data", prepared.root, "--out", tmp_path / "out", "--batch", 3)
    assert "out of memory: samples of " in (line := voxflate(*call, *QUICK, status=2))
    assert "3 at a time" in line


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreparedSet]:
    """Scans of another grid and orientation than the set made of them."""
    folder = tmp_path_factory.mktemp("scans")
    rng = np.random.default_rng(0)
    (folder / "raw").mkdir()
    for number in range(12):
        array = ndimage.gaussian_filter(rng.normal(size=(18, 22, 10)), 2).astype(np.float32) * 400 + 30
        image = nib.Nifti1Image(array, np.diag([-1.5, 1.5, 2.0, 1.0]))
        nib.save(image, folder / "raw" / f"scan{number:02}.nii.gz")
    prepared = prepare(folder / "raw", folder / "set", "mr", (4, 8, 8), salt=b"0" * 32)
    return folder / "raw", prepared


def test_the_scans_of_a_set_prepared_like_it_are_its_volumes(scans: tuple[Path, PreparedSet]) -> None:
    raw, prepared = scans
    found = all_of(raw, prepared, prepare=True)
    real = prepared.volumes("all")
    errors = np.abs(found[:, None] - real[None]).max(axis=(2, 3, 4, 5))
    assert sorted(errors.argmin(1)) == list(range(12))
    assert errors.min(1).max() < 1e-4
    with pytest.raises(VoxflateError, match=r"scan00.nii.gz: has 10x22x18 voxels .*; add --prepare to bring"):
        open_volumes(raw, prepared)
    with pytest.raises(VoxflateError, match="--range 0,1: does not go with --prepare"):
        open_volumes(raw, prepared, value_range=(0.0, 1.0), prepare=True)


def test_a_folder_is_audited_like_the_samples_of_a_run(
    scans: tuple[Path, PreparedSet], tmp_path: Path
) -> None:
    raw, prepared = scans
    out = tmp_path / "out"
    call = ("audit", raw, "--data", prepared.root, "--out", out)
    quick = ("--prepare", "--set", "evaluation.extractor=random")
    assert "which needs --data and --out" in voxflate("audit", raw, status=2)
    assert "add --prepare" in voxflate(*call, status=2)
    for given in (("--snapshot", "best"), ("--truncation", 0.5), ("--other-data",), ("--device", "cpu")):
        assert given[0] in voxflate(*call, *given, status=2)
    assert "12 volumes, prepared like those of" in voxflate(*call, *quick, "--dry-run")
    assert not out.exists()
    shown = voxflate(*call, *quick, status=3)
    assert "12 generated volumes flagged (" in shown
    assert "flagged if one of these holds: correlation above " in shown
    assert "verdict: clearly more than by chance" in shown
    assert f"contains real scans, do not share it: {out / 'audit-pairs.npz'}" in shown
    content = json.loads((out / "audit.json").read_text())
    assert content["warnings"] == []
    assert content["files"] == [f"scan{number:02}.nii.gz" for number in range(12)]
    assert all(content["files"][int(number)] in shown for number in content["flagged"])
    assert (content["source"], content["prepared"], content["data"]) == (
        "volumes",
        True,
        prepared.content_hash,
    )
    assert "already exists and is kept" in voxflate(*call, *quick, status=2)
    (command,) = [line for line in shown.splitlines() if line.startswith("to see the pairs")]
    again = f"voxflate evaluate {raw} --out {out} --data {prepared.root} --prepare"
    assert command.endswith(f"{again} --set evaluation.extractor=random")
    shown = voxflate("evaluate", *call[1:], *QUICK, "--prepare")
    assert "12 generated against 12 real" in shown
    assert " may copy real volumes: " in shown
    assert f"report: {out / 'report.html'} (contains real scans)" in shown
    page = (out / "report.html").read_text()
    assert "flagged as possible copies" in page
    assert "That is clearly more than by chance" in page


def test_options_of_folders_are_refused_for_runs(tmp_path: Path) -> None:
    for command in ("evaluate", "audit"):
        for given in (("--range", "0,1"), ("--prepare",)):
            assert f"{' '.join(given)}: is for folders" in voxflate(command, tmp_path, *given, status=2)


def test_the_command_measures_a_folder_and_keeps_what_is_there(
    folder: Path, prepared: PreparedSet, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert "which needs --data; give --data FOLDER" in voxflate("evaluate", folder, "--out", out, status=2)
    assert "which needs --data and --out; give" in voxflate("evaluate", folder, status=2)
    both = ("evaluate", folder, folder, "--data", prepared.root)
    assert "only one can be measured at a time" in voxflate(*both, status=2)
    call = ("evaluate", folder, "--data", prepared.root, "--out", out, *QUICK)
    assert "0 and 1 are read as the darkest" in voxflate(*call, "--dry-run")
    assert not out.exists()
    shown = voxflate(*call)
    assert "6 generated against 20 real" in shown
    facts = json.loads((out / "metrics.json").read_text())["facts"]
    assert (facts["source"], facts["run"], facts["parameters"]) == ("volumes", "theirs", None)
    assert len(facts["volumes_sha256"]) == 64
    assert (out / "report.html").is_file()
    before = (out / "metrics.json").read_bytes()
    assert "already exists and is kept" in voxflate(*call, status=2)
    assert (out / "metrics.json").read_bytes() == before
    compared = " ".join(voxflate("compare", out).split())
    assert "it is a folder of 6 volumes" in compared
    elsewhere = ("evaluate", folder, "--data", prepared.root, "--out", tmp_path / "o2")
    for given in (("--range", "1"), ("--snapshot", "best"), ("--truncation", 0.5), ("--other-data",)):
        assert given[0] in voxflate(*elsewhere, *given, status=2)
    assert not (tmp_path / "o2").exists()
