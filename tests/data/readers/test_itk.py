import gzip
import os
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.itk import itk_name
from voxflate.data.readers.table import read_geometry, read_volume, scan_files
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


STORED = np.arange(336, dtype="<i2").reshape(6, 7, 8)
DIRECTIONS = "space directions: (2,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)"


def nrrd(path: Path, fields: str) -> Path:
    header = "NRRD0005\ntype: short\ndimension: 3\nsizes: 8 7 6\nendian: little\nencoding: raw\n"
    path.write_bytes(f"{header}{fields}\n\n".encode() + STORED.tobytes())
    return path


def metaimage(path: Path, fields: str, data: str = "LOCAL") -> Path:
    header = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    place = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 2 2 3\n"
    end = f"DimSize = 8 7 6\nElementType = MET_SHORT\nElementDataFile = {data}\n"
    voxels = STORED.tobytes() if data == "LOCAL" else b""
    path.write_bytes(f"{header}{place}{fields}{end}".encode() + voxels)
    return path


@pytest.mark.parametrize(
    ("space", "left_and_back"),
    [
        ("left-posterior-superior", [-2, -2]),
        ("LPS", [-2, -2]),
        ("right-anterior-superior", [2, 2]),
        ("RAS", [2, 2]),
        ("Left-Anterior-Superior", [-2, 2]),
        ("las", [-2, 2]),
    ],
)
def test_spaces_that_name_directions_of_the_body_are_read(
    tmp_path: Path, space: str, left_and_back: list[float]
) -> None:
    affine = read_volume(nrrd(tmp_path / "a.nrrd", f"space: {space}\n{DIRECTIONS}")).affine
    np.testing.assert_array_equal(affine[:3, :3], np.diag([*left_and_back, 3]))
    np.testing.assert_array_equal(affine[:3, 3], np.array([1, 2, 3]) * [*np.sign(left_and_back), 1])


@pytest.mark.parametrize(
    "fields",
    [
        f"space: 3D-right-handed\n{DIRECTIONS}",
        f"space: scanner-xyz\n{DIRECTIONS}",
        f"space dimension: 3\n{DIRECTIONS}",
        f"space:=left-posterior-superior\nspace dimension: 3\n{DIRECTIONS}",
        "space: left-posterior-superior\nspace origin: (1,2,3)",
    ],
    ids=["handedness", "scanner", "dimension alone", "a key", "no directions"],
)
def test_spaces_that_do_not_say_where_left_is_are_refused(tmp_path: Path, fields: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", fields)
    with pytest.raises(VoxflateError, match=r"does not say which way its axes point.*--assume RAS"):
        read_volume(path)
    sides = [2, 2, 3] if "directions" in fields else [1, 1, 1]
    np.testing.assert_array_equal(read_volume(path, "RAS").affine, np.diag([*sides, 1]))


@pytest.mark.parametrize("sign", ["=", ":"])
def test_slope_and_offset_of_metaimage_are_applied(tmp_path: Path, sign: str) -> None:
    fields = f"ElementToIntensityFunctionSlope {sign} 2\nElementToIntensityFunctionOffset {sign} -1024\n"
    array = read_volume(metaimage(tmp_path / "a.mha", fields)).array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, STORED * 2.0 - 1024)
    same = fields.replace("2\n", "1\n").replace("-1024", "0")
    np.testing.assert_array_equal(read_volume(metaimage(tmp_path / "b.mha", same)).array, STORED)


@pytest.mark.parametrize("slope", ["0", "nan", "two"])
def test_a_slope_that_is_none_is_refused(tmp_path: Path, slope: str) -> None:
    path = metaimage(tmp_path / "a.mha", f"ElementToIntensityFunctionSlope = {slope}\n")
    with pytest.raises(
        VoxflateError, match=f"are {slope} and 0, expected two numbers and a slope other than 0"
    ):
        read_volume(path)


@pytest.mark.parametrize("unit", ["mm", "?", "cm", "um"])
def test_metaimage_that_is_not_in_millimetres_is_refused(tmp_path: Path, unit: str) -> None:
    path = metaimage(tmp_path / "a.mha", f"DistanceUnits = {unit}\n")
    if unit in ("mm", "?"):
        assert read_geometry(path).spacing == (3, 2, 2)
        return
    with pytest.raises(VoxflateError, match=rf"does not give its voxel sides in mm \({unit}\)"):
        read_geometry(path)


def test_voxels_in_a_folder_below_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "x.raw").write_bytes(STORED.tobytes())
    path = metaimage(tmp_path / "x.mhd", "", "raw/x.raw")
    assert scan_files(path) == (path, tmp_path / "raw" / "x.raw")
    np.testing.assert_array_equal(read_volume(path).array, STORED)
    with itk_name((Path(os.fsdecode(b"/\xff/x.mhd")), Path(os.fsdecode(b"/\xff/raw/x.raw")))) as name:
        assert (Path(name).parent / "raw" / "x.raw").is_symlink()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "does not name the file of its voxels"),
        (" ", "does not name the file of its voxels"),
        ("x" * 300 + ".raw", "names a voxel file that does not exist"),
    ],
    ids=["nothing", "a blank", "too long"],
)
def test_a_header_without_a_usable_file_name_is_refused(tmp_path: Path, data: str, message: str) -> None:
    with pytest.raises(VoxflateError, match=message):
        scan_files(metaimage(tmp_path / "x.mhd", "", data))


def test_a_colon_hides_no_file_outside_the_folder(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "x.mhd", "", "/etc/passwd")
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile = ", b"ElementDataFile : "))
    with pytest.raises(VoxflateError, match=r"outside its folder \(/etc/passwd\)"):
        scan_files(path)


def test_an_image_packed_as_a_whole_is_told_from_a_damaged_one(nifti: Path) -> None:
    path = nrrd(nifti.with_name("a.nrrd"), f"space: LPS\n{DIRECTIONS}")
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(VoxflateError, match=r"is packed as a whole \(gzip\).*unpack it"):
        read_volume(path)
    path.write_bytes(b"no image\n" * 99)
    with pytest.raises(VoxflateError, match="it begins like neither NRRD nor MetaImage"):
        read_volume(path)


def test_voxels_that_begin_in_the_header_and_sides_that_are_not_given(nifti: Path) -> None:
    path = nifti.with_name("a.mha")
    ITK.WriteImage(ITK.ReadImage(str(nifti)), str(path), False)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"ElementDataFile", b"HeaderSize = 10\nElementDataFile"))
    with pytest.raises(
        VoxflateError, match=r"begin inside its header \(HeaderSize is 10, the header has \d+"
    ):
        read_volume(path)
    path.write_bytes(content.replace(b"ElementSpacing", b"ElementSpying"))
    assert read_geometry(path).spacing == (1.0, 1.0, 1.0)
    assert read_geometry(path).note.endswith("(ElementSpacing), which then count as 1 mm")
    path.write_bytes(content)
    assert not read_geometry(path).note
