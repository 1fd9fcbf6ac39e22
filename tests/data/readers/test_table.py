import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.table import read_geometry, read_volume


def test_values_and_place_are_those_of_the_file(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.array([[0, 2, 0, 5], [3, 0, 0, 6], [0, 0, -4, 7], [0, 0, 0, 1.0]])
    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(0.5, -1000)
    image.to_filename(tmp_path / "ct.nii")
    again = nib.load(tmp_path / "ct.nii")

    volume = read_volume(tmp_path / "ct.nii")

    assert volume.array.dtype == np.float32
    assert volume.array.shape == (4, 3, 2)
    np.testing.assert_array_equal(volume.array.T, again.get_fdata())
    np.testing.assert_allclose(volume.affine, affine)
    assert read_geometry(tmp_path / "ct.nii").shape == (4, 3, 2)


def test_a_fourth_axis_of_one_is_no_fourth_axis(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)
    assert read_volume(write_scan(tmp_path / "a.nii.gz", array)).array.shape == (4, 3, 2)


def with_nan() -> np.ndarray:
    array = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    array[1, 2, 3] = np.nan
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((8, 8), np.float32), "is a 2D image (8x8)"),
        (np.ones((8, 8, 1), np.float32), "is a single slice (8x8x1)"),
        (np.ones((4, 4, 4, 2), np.float32), "is a 4D image (4x4x4x2)"),
        (np.full((4, 4, 4), 7, np.int16), "all voxels are 7"),
        (with_nan(), "1 of 64 voxels are NaN; "),
        (np.full((4, 4, 4), np.nan, np.float32), "all voxels are NaN; remove the file"),
        (np.ones((4, 4, 4), np.complex64), "does not have one real number per voxel"),
    ],
    ids=["2d", "slice", "4d", "constant", "nan", "all nan", "complex"],
)
def test_what_is_no_volume_is_refused(
    tmp_path: Path, write_scan: Callable[..., Path], array: np.ndarray, message: str
) -> None:
    path = write_scan(tmp_path / "bad.nii.gz", array)
    with pytest.raises(VoxflateError) as error:
        read_volume(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["bad.nii", "bad.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"hello, I am no volume\n" * 100], ids=["empty", "text"])
def test_a_file_that_is_no_nifti_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VoxflateError, match=r"bad\.nii.*cannot be read as NIfTI"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(
    tmp_path: Path, write_scan: Callable[..., Path], name: str, share: float
) -> None:
    path = write_scan(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(VoxflateError, match=r"cut\.nii.*(cannot be read as NIfTI|is cut short)"):
        read_volume(path)


def test_left_and_right_are_not_guessed(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(64, dtype=np.float32).reshape(4, 4, 4), None)
    image.to_filename(tmp_path / "nowhere.nii")
    with pytest.raises(VoxflateError, match="does not say which way its axes point"):
        read_volume(tmp_path / "nowhere.nii")


def test_an_affine_without_a_volume_is_refused(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    path = write_scan(tmp_path / "flat.nii")
    image = nib.load(path)
    image.header["srow_z"] = 0
    image.header["qform_code"] = 0
    flat = nib.Nifti1Image(image.dataobj, None, image.header)
    flat.header["sform_code"] = 2
    flat.to_filename(tmp_path / "flat2.nii")
    with pytest.raises(VoxflateError, match="cannot be inverted"):
        read_volume(tmp_path / "flat2.nii")


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.jpg").write_bytes(b"")
    with pytest.raises(VoxflateError, match=r"unknown file format.*\.nii\.gz"):
        read_volume(tmp_path / "scan.jpg")


@pytest.mark.parametrize("kind", ["u1", "i1", "<i2", ">i2", "<u2"])
def test_short_integers_stay_as_they_are(tmp_path: Path, kind: str) -> None:
    stored = np.arange(24).reshape(2, 3, 4).astype(kind)
    header = nib.Nifti1Header(endianness=">" if kind.startswith(">") else "<")
    nib.Nifti1Image(stored, np.eye(4), header, dtype=stored.dtype).to_filename(tmp_path / "a.nii.gz")
    array = read_volume(tmp_path / "a.nii.gz").array
    assert array.dtype == stored.dtype.newbyteorder("=")
    np.testing.assert_array_equal(array.T, stored)


def test_longer_integers_become_float32(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    stored = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    array = read_volume(write_scan(tmp_path / "a.nii", stored)).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array.T, stored)


def test_a_file_packed_in_several_parts_is_read(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    content = write_scan(tmp_path / "a.nii").read_bytes()
    parts = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    (tmp_path / "b.nii.gz").write_bytes(b"".join(map(gzip.compress, parts)))  # as bgzip does
    np.testing.assert_array_equal(
        read_volume(tmp_path / "b.nii.gz").array, read_volume(tmp_path / "a.nii").array
    )


def test_an_affine_that_cannot_be_told_is_refused(tmp_path: Path, write_scan: Callable[..., Path]) -> None:
    path = write_scan(tmp_path / "bad.nii")
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<hh", 1, 0)  # the quaternion counts, the matrix does not
    content[256:268] = struct.pack("<3f", 3, 3, 3)  # and is none
    path.write_bytes(content)
    with pytest.raises(VoxflateError, match=r"bad\.nii.*cannot be read as NIfTI"):
        read_volume(path)
