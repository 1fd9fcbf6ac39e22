"""Packed voxels with a flipped bit are refused, although libraries return what they could unpack."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.table import read_volume

ITK: Any = SimpleITK
RNG = np.random.default_rng(0)
ARRAY = (RNG.normal(500, 100, (12, 20, 16)) + np.arange(16) * 20).astype(np.int16)
FORMATS = {
    "a.mgz": "a.mgz",
    "a.mha": "a.mha",
    "a.mhd": "a.zraw",
    "a.nrrd": "a.nrrd",
    "a.nhdr": "a.raw.gz",
    "a.nii.gz": "a.nii.gz",
}
"""Scan -> the file of its voxels."""


def written(path: Path) -> Path:
    """The array in the format of a name, packed."""
    if path.suffix in (".mgz", ".gz"):
        kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
        kind(ARRAY.T, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(path)
    else:
        ITK.WriteImage(ITK.GetImageFromArray(ARRAY), str(path), True)
    return path


@pytest.mark.parametrize("scan", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_flipped_bit_of_packed_voxels_is_refused(tmp_path: Path, scan: str, share: float) -> None:
    path, voxels = written(tmp_path / scan), tmp_path / FORMATS[scan]
    np.testing.assert_array_equal(read_volume(path).array, ARRAY)
    content = bytearray(voxels.read_bytes())
    content[int(share * len(content))] ^= 0x10
    voxels.write_bytes(content)
    with pytest.raises(VoxflateError, match=r"a\.\w+.*cannot be read as (an image|MGH|NIfTI)") as error:
        read_volume(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scan", FORMATS)
@pytest.mark.parametrize("cut", [1, 6, 200])
def test_packed_voxels_without_their_end_are_refused(tmp_path: Path, scan: str, cut: int) -> None:
    path, voxels = written(tmp_path / scan), tmp_path / FORMATS[scan]
    voxels.write_bytes(voxels.read_bytes()[:-cut])
    with pytest.raises(VoxflateError, match=r"cannot be read as|bytes of compressed voxels"):
        read_volume(path)


META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = True\n{}TransformMatrix = 1 0 0 0 1 0 0 0 1\nDimSize = 16 20 12\n"
    "ElementType = {}\nElementDataFile = LOCAL\n"
)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (0, "MET_SHORT", ""),
        (-20, "MET_SHORT", "its header says .*CompressedDataSize"),
        (None, "MET_SHORT", "its header says 0 .*CompressedDataSize"),
        (0, "MET_INT", "its compressed voxels hold 7,680 bytes, its header claims 15,360"),
        (0, "MET_CHAR", "its compressed voxels hold 7,680 bytes, its header claims 3,840"),
    ],
)
def test_compressed_metaimage_of_another_length_is_refused(
    tmp_path: Path, said: int | None, kind: str, message: str
) -> None:
    packed = zlib.compress(ARRAY.tobytes())
    length = "" if said is None else f"CompressedDataSize = {len(packed) + said}\n"
    (tmp_path / "a.mha").write_bytes(META.format(length, kind).encode() + packed)
    if not message:
        np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array, ARRAY)
        return
    with pytest.raises(VoxflateError, match=message):
        read_volume(tmp_path / "a.mha")


def test_lines_before_packed_voxels_are_skipped(tmp_path: Path) -> None:
    written(tmp_path / "a.nhdr")
    header = (tmp_path / "a.nhdr").read_bytes()
    (tmp_path / "a.nhdr").write_bytes(header.replace(b"encoding: gzip", b"encoding: gzip\nline skip: 2"))
    (tmp_path / "a.raw.gz").write_bytes(b"one\ntwo\n" + (tmp_path / "a.raw.gz").read_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nhdr").array, ARRAY)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixdim", [1, 2, 0, 3, 0, 0, 0, 0], "has voxels without a size"),
        ("scl_slope", np.inf, "its scaling is infinite"),
        ("vox_offset", 0, r"vox_offset is 0, at least 352 is needed\); save it again"),
        ("vox_offset", 348, "vox_offset is 348, at least 352"),
        ("vox_offset", np.nan, "vox_offset is nan, at least 352"),
    ],
)
def test_a_header_that_nibabel_would_guess_around_is_refused(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    path = tmp_path / "a.nii"
    nib.Nifti1Image(ARRAY.T, np.diag([2.0, 2.0, 3.0, 1.0])).to_filename(path)
    with path.open("r+b") as file:
        header = nib.nifti1.Nifti1Header.from_fileobj(file, check=False)
        header["sform_code"], header["qform_code"] = 0, 1
        header[name] = value
        file.seek(0)
        file.write(header.binaryblock)
    with pytest.raises(VoxflateError, match=message):
        read_volume(path)
