"""DICOM series that others can read: values, places, fresh UIDs, nobody's data."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from voxflate._system.errors import VoxflateError
from voxflate.data import PreparedSet
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.found import find_sources
from voxflate.data.volume import Geometry
from voxflate.data.writers.dicom import write_dicom
from voxflate.data.writers.synthetic import PLAIN

ITK: Any = SimpleITK
WriteScan = Callable[..., Path]
SHAPE = (8, 16, 16)


def turned(angle: float) -> Any:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


@pytest.fixture(params=["ct", "mr"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path, write_scan: WriteScan) -> PreparedSet:
    """A bright dot right of, before and above the middle of an oblique scan."""
    array = np.random.default_rng(0).integers(-200, 0, (32, 32, 16)).astype(np.int16)
    array[20:24, 24:28, 10:14] = 600
    affine = turned(0.2) @ np.diag([1.5, 1.25, 3.0, 1])
    affine[:3, 3] = [-11, 22, 33]
    write_scan(tmp_path / "MUSTERMANN" / "dot.nii.gz", array, affine)
    return prepare(tmp_path / "MUSTERMANN", tmp_path / "set", request.param, SHAPE)


def test_the_dot_is_where_it_was_for_every_reader(prepared: PreparedSet, tmp_path: Path) -> None:
    """From a file to a tensor to a generated file, and back to the same place in the world."""
    volume = prepared.volumes("all")[0, 0]
    write_dicom(tmp_path / "out", volume, prepared, look=PLAIN)
    dot = nib.load(tmp_path / "MUSTERMANN" / "dot.nii.gz")
    middle = np.argwhere(np.asarray(dot.dataobj) == 600).mean(axis=0)
    wanted = nib.affines.apply_affine(dot.affine, middle)

    # by SimpleITK
    files = ITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "out"))
    image = ITK.ReadImage(files)
    array = ITK.GetArrayFromImage(image)
    peak = np.argwhere(array > array.max() / 2).mean(axis=0)
    left_posterior = image.TransformContinuousIndexToPhysicalPoint(peak[::-1].tolist())
    np.testing.assert_allclose(np.array(left_posterior) * [-1, -1, 1], wanted, atol=1e-3)

    # by pydicom alone
    slices = sorted(map(pydicom.dcmread, (tmp_path / "out").iterdir()), key=lambda one: one.InstanceNumber)
    stack = np.stack([one.pixel_array for one in slices])
    np.testing.assert_array_equal(stack, array)
    across, down = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = np.array(slices[0].PixelSpacing, float)
    bright = np.argwhere(stack > stack.max() / 2)
    position = np.mean([slices[d].ImagePositionPatient for d in bright[:, 0]], axis=0)
    _, row, column = bright.mean(axis=0)
    found = position + across * columns * column + down * rows * row
    np.testing.assert_allclose(found * [-1, -1, 1], wanted, atol=1e-3)
    assert across[0] > 0.9  # the subject's right is on the left of the picture, as radiologists have it

    # by our own reader: the very voxels and the very grid
    (source,) = find_sources(tmp_path / "out", pytest.fail)
    again = source.volume()
    np.testing.assert_allclose(again.geometry.to_ras().affine, prepared.affine, atol=1e-4)
    assert source.modality == ("CT" if prepared.is_ct else "MR")


def test_ct_is_whole_hounsfield_units_and_mr_twelve_bits(prepared: PreparedSet, tmp_path: Path) -> None:
    volume = prepared.volumes("all")[0, 0]
    write_dicom(tmp_path / "out", volume, prepared, look=PLAIN)
    (source,) = find_sources(tmp_path / "out", pytest.fail)
    values = source.volume().array[:, ::-1, ::-1]
    if prepared.is_ct:
        np.testing.assert_array_equal(values, np.rint(prepared.to_intensity(volume)))
    else:
        np.testing.assert_allclose(values, (volume + 1) * 2047.5, atol=0.51)


def test_files_say_what_they_are_and_name_nobody(prepared: PreparedSet, tmp_path: Path) -> None:
    volume = prepared.volumes("all")[0, 0]
    uids: list[str] = []
    for name in ("a", "b"):
        write_dicom(tmp_path / name, volume, prepared, look=PLAIN)
        slices = list(map(pydicom.dcmread, (tmp_path / name).iterdir()))
        for one in slices:
            assert one.ImageType[0] == "DERIVED"
            assert one.SyntheticData == "YES"
            assert one.PatientName == "SYNTHETIC^VOLUME"
            assert not any(one.get(date) for date in ("StudyDate", "StudyTime", "PatientBirthDate"))
            uids.append(one.SOPInstanceUID)
        for tag in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            (uid,) = {one[tag].value for one in slices}
            uids.append(uid)
    assert len(set(uids)) == len(uids)
    for path in tmp_path.glob("[ab]/*"):
        assert b"MUSTERMANN" not in path.read_bytes()


def test_a_scan_is_not_called_synthetic(prepared: PreparedSet, tmp_path: Path) -> None:
    write_dicom(tmp_path / "out", prepared.volumes("all")[0, 0], prepared, look=None)
    for path in (tmp_path / "out").iterdir():
        one = pydicom.dcmread(path)
        assert "SyntheticData" not in one
        assert (one.ImageType[0], one.PatientName) == ("DERIVED", "PREPARED^VOLUME")
        assert b"synthetic" not in path.read_bytes().lower()


def test_what_a_series_cannot_say_is_refused(prepared: PreparedSet, tmp_path: Path) -> None:
    volume = prepared.volumes("all")[0, 0]
    sheared = prepared.affine.copy()
    sheared[0, 2] += 0.2 * Geometry(SHAPE, sheared).spacing[0]
    with pytest.raises(VoxflateError, match=r"axes are 11\.\d degrees off a right angle"):
        write_dicom(tmp_path / "out", volume, prepared, sheared, look=PLAIN)
    with pytest.raises(VoxflateError, match="1 voxels are NaN"):
        write_dicom(tmp_path / "out", np.where(volume == volume.max(), np.nan, volume), prepared, look=PLAIN)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs dciodvfy (Debian: dicom3tools)")
def test_dciodvfy_finds_no_error(prepared: PreparedSet, tmp_path: Path) -> None:
    write_dicom(tmp_path / "out", prepared.volumes("all")[0, 0], prepared, look=PLAIN)
    done = subprocess.run(
        ["dciodvfy", str(tmp_path / "out" / "0001.dcm")], check=False, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    # Synthetic Data entered the standard in 2023, after the release that Debian carries.
    assert [line for line in errors if "(0x0008,0x001c)" not in line] == []
    assert ("CTImage" if prepared.is_ct else "MRImage") in done.stderr.splitlines()
