"""NPZ files: an array and its affine, as NumPy saves them.

    numpy.savez_compressed("scan.npz", array=array, affine=affine)

`array` is [I, J, K] and `affine` maps (i, j, k, 1) to world millimetres (RAS+), both as in nibabel.
Without an affine, `spacing` (three voxel sides in mm, in the array's order) and --assume are needed.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.readers.refusals import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.volume import Float64, Geometry, Volume, assumed_affine

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LARGEST_ENTRY = 4096
"""More bytes than a header and 16 numbers need."""


def npz_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of an NPZ file; only the array's header is read.

    Raises:
        ScanError: If there is no 3D array of real numbers, or it has no orientation.
    """
    shape, dtype = _header(path)
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            path,
            f"its array has {'x'.join(map(str, shape))} voxels, expected a 3D volume; remove or split it",
        )
    if dtype.kind not in "iuf":
        raise ScanError(path, f"does not have one real number per voxel ({dtype}); convert it")
    check_claim(path, int(np.prod(shape, dtype=object)) * dtype.itemsize, packed=True)
    affine = _affine(path, assume)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)


def read_npz(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Voxels and grid of an NPZ file.

    Raises:
        ScanError: As `npz_geometry`; also if the data is damaged, has NaN or infinite voxels, or is constant.
    """
    geometry = npz_geometry(path, assume)
    with np.errstate(over="ignore"):  # values that are too large become infinite and are refused
        array = np.ascontiguousarray(_member(path, "array").T, np.float32)
    return Volume(check_voxels(path, array, air), geometry.affine)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("array.npy") as member:
            shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "NPZ with an entry called array", error) from error
    return shape, dtype


def _affine(path: Path, assume: str) -> Float64:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "affine.npy" in names:
        affine = _numbers(path, "affine", 16)
        if not np.array_equal(affine[12:], [0, 0, 0, 1]):
            raise ScanError(path, "its affine is not a 4x4 matrix whose last row is 0 0 0 1; save it again")
        return affine.reshape(4, 4)
    if not assume or "spacing.npy" not in names:
        raise ScanError(
            path,
            "has no orientation (no entry called affine), and left and right are never guessed; save it "
            "again with its affine, or with spacing (three voxel sides, mm) and use --assume RAS",
        )
    return assumed_affine(assume, _numbers(path, "spacing", 3).tolist())


def _numbers(path: Path, name: str, count: int) -> Float64:
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo(f"{name}.npy").file_size
    found = _member(path, name) if size < _LARGEST_ENTRY else np.empty(0)
    if found.size != count or found.dtype.kind not in "iuf":
        raise ScanError(path, f"its {name} does not have {count} numbers; save it again")
    return np.asarray(found, np.float64).ravel()


def _member(path: Path, name: str) -> Any:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "NPZ", error) from error
