import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.table import read_geometry, read_volume
from voxflate.data.volume import assumed_affine

AFFINE = np.array([[0.0, -2.0, 0.0, 9.0], [1.5, 0.0, 0.0, -4.0], [0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
ITK: Any = SimpleITK


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(-500, 500, (6, 5, 4)).astype(np.int16)
    nib.Nifti1Image(array, AFFINE).to_filename(tmp_path / "a.nii")
    return tmp_path / "a.nii"


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_scan_is_the_same_volume_in_every_format(nifti: Path, name: str, packed: bool) -> None:
    path = nifti.with_name(name)
    ITK.WriteImage(ITK.ReadImage(str(nifti)), str(path), packed)
    expected, found = read_volume(nifti), read_volume(path)
    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    assert read_geometry(path).shape == (4, 5, 6)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("a.nrrd", b"space: ", b"spice: "), ("a.mha", b"TransformMatrix", b"TransformMutrix")],
)
def test_a_header_without_orientation_is_refused(nifti: Path, name: str, old: bytes, new: bytes) -> None:
    path = nifti.with_name(name)
    ITK.WriteImage(ITK.ReadImage(str(nifti)), str(path))
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(VoxflateError, match=r"which way its axes point|cannot be read"):
        read_geometry(path)


def test_a_damaged_file_is_refused_in_one_line(nifti: Path) -> None:
    path = nifti.with_name("a.nrrd")
    ITK.WriteImage(ITK.ReadImage(str(nifti)), str(path))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(VoxflateError, match=r"a\.nrrd: cannot be read as an image") as error:
        read_volume(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("packed", [False, True], ids=["nii", "nii.gz"])
def test_a_small_file_that_claims_a_terabyte_is_refused(nifti: Path, packed: bool) -> None:
    content = bytearray(nifti.read_bytes())
    content[40:56] = struct.pack("<8h", 3, 8192, 8192, 8192, 1, 1, 1, 1)
    path = nifti.with_name("b.nii.gz" if packed else "b.nii")
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))
    with pytest.raises(VoxflateError, match="claims 1,099,511,627,776 bytes"):
        read_volume(path)


def test_an_image_that_claims_a_terabyte_is_refused(nifti: Path) -> None:
    path = nifti.with_name("a.nrrd")
    ITK.WriteImage(ITK.ReadImage(str(nifti)), str(path))
    path.write_bytes(path.read_bytes().replace(b"sizes: 6 5 4", b"sizes: 8192 8192 8192"))
    with pytest.raises(VoxflateError, match="claims 549,755,813,888 bytes"):
        read_volume(path)


def test_a_picture_in_colour_is_refused(nifti: Path) -> None:
    image = ITK.Compose([ITK.ReadImage(str(nifti))] * 3)
    path = nifti.with_name("c.mha")
    ITK.WriteImage(image, str(path))
    with pytest.raises(VoxflateError, match="3 numbers per voxel"):
        read_volume(path)


def test_an_assumed_orientation_is_taken_as_said(nifti: Path) -> None:
    image: Any = nib.Nifti1Image(np.arange(120, dtype=np.int16).reshape(6, 5, 4), None)
    image.header.set_zooms((1.0, 2.0, 3.0))
    image.to_filename(nifti)
    with pytest.raises(VoxflateError, match=r"never guessed.*--assume RAS"):
        read_volume(nifti)
    right = read_volume(nifti, "RAS")
    np.testing.assert_array_equal(right.affine, np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = read_volume(nifti, "PIL")  # file axes: to the back, down, to the left
    np.testing.assert_array_equal(turned.affine[:3, :3], [[0, 0, -3], [-1, 0, 0], [0, -2, 0]])
    np.testing.assert_array_equal(right.array, turned.array)


def test_what_a_file_says_is_not_overruled(nifti: Path) -> None:
    np.testing.assert_array_equal(read_volume(nifti, "LPI").affine, read_volume(nifti).affine)


@pytest.mark.parametrize("orientation", ["RA", "RAR", "RLS", "XYZ", "RASI"])
def test_what_is_no_orientation_is_refused(orientation: str) -> None:
    with pytest.raises(VoxflateError, match=f"--assume {orientation}: expected three letters"):
        assumed_affine(orientation, (1, 1, 1))


@pytest.mark.parametrize("side", [1e-6, 1e7])
def test_a_voxel_of_a_size_that_no_scanner_makes_is_refused(nifti: Path, side: float) -> None:
    nib.Nifti1Image(np.arange(120.0).reshape(6, 5, 4), np.diag([1.0, side, 1.0, 1.0])).to_filename(nifti)
    with pytest.raises(VoxflateError, match=r"expected sides of 0\.0001 to 100 mm|cannot be inverted"):
        read_geometry(nifti)
