"""Reading scans: one reader per kind of file, chosen by suffix.

To add a format: write a `Reader` (grid alone, grid and voxels) and add its suffixes to `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from voxflate.data.readers.itk import itk_geometry, read_itk
from voxflate.data.readers.npz import npz_geometry, read_npz
from voxflate.data.readers.refusals import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.volume import Geometry, Volume, assumed_affine


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read.

    Attributes:
        geometry: Reads the header only: the grid in the file's own orientation.
        volume: Reads the voxels too, in the source's units.

    Both take the path and the orientation to assume where a file has none; with "" such a file is refused.
    """

    geometry: Callable[[Path, str], Geometry]
    volume: Callable[[Path, str], Volume]


def nifti_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of a NIfTI file, from its header.

    Raises:
        ScanError: If the file is no 3D NIfTI image with one number per voxel, or does not say how
            it lies.
    """
    with _open_nifti(path) as file:
        return _geometry(path, file, assume)


def read_nifti(path: Path, assume: str = "") -> Volume:
    """A NIfTI file's voxels (slope and intercept applied) and grid.

    Raises:
        ScanError: As `nifti_geometry`; also if the file is cut short, holds NaN or infinity, or if all
            its voxels are equal.
    """
    with _open_nifti(path) as file:
        geometry = _geometry(path, file, assume)
        try:
            array = np.asarray(file.voxels)
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "NIfTI", error) from error
    narrow = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
    kind = array.dtype.newbyteorder("=") if narrow else np.float32
    array = array.reshape(geometry.shape[::-1]).T.astype(kind, copy=False)
    check_voxels(path, array)
    return Volume(array, geometry.affine)


NIFTI = Reader(nifti_geometry, read_nifti)

ITK = Reader(itk_geometry, read_itk)

NPZ = Reader(npz_geometry, read_npz)

READERS: dict[str, Reader] = {".nii": NIFTI, ".nii.gz": NIFTI, ".nrrd": ITK, ".mha": ITK, ".npz": NPZ}


def reader_of(path: Path) -> Reader | None:
    """The reader for a file name, or None if no reader knows its suffix."""
    name = path.name.lower()
    return next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), None)


def read_volume(path: Path, assume: str = "") -> Volume:
    """Read one scan with the reader of its suffix.

    Raises:
        ScanError: If no reader knows the suffix, or the reader refuses the file.
    """
    return _reader(path).volume(path, assume)


def read_geometry(path: Path, assume: str = "") -> Geometry:
    """Read one scan's grid with the reader of its suffix; the voxels are not touched.

    Raises:
        ScanError: If no reader knows the suffix, or the reader refuses the file.
    """
    return _reader(path).geometry(path, assume)


def _reader(path: Path) -> Reader:
    reader = reader_of(path)
    if reader is None:
        raise ScanError(path, f"unknown kind of file; expected one ending in {', '.join(READERS)}")
    return reader


@dataclass(frozen=True)
class _Nifti:
    """An open NIfTI file.

    Attributes:
        header: As nibabel has it.
        affine: The one that the header prefers.
        voxels: Those of the file, read when they are made an array.
    """

    header: Any
    affine: Any
    voxels: Any


@contextmanager
def _open_nifti(path: Path) -> Iterator[_Nifti]:
    """One stream for header and voxels, so that nothing is unpacked twice (decision 0035)."""
    with ExitStack() as opened:
        try:
            stream: Any = opened.enter_context(path.open("rb"))
            if _is_packed(path):
                stream = opened.enter_context(igzip.open(stream))
            header: Any = nib.nifti1.Nifti1Header.from_fileobj(stream)
            voxels = nib.arrayproxy.ArrayProxy(stream, header, mmap=False)
            file = _Nifti(header, header.get_best_affine(), voxels)
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "NIfTI", error) from error
        yield file


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _geometry(path: Path, file: _Nifti, assume: str) -> Geometry:
    header = file.header
    shape = tuple(header.get_data_shape())
    # A fourth axis of length 1 is how some tools write a 3D image.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        kind = f"{len(shape)}D image" if len(shape) != 3 else "single slice"
        raise ScanError(
            path, f"is a {kind} ({'x'.join(map(str, shape))}), expected a 3D volume; remove or split it"
        )
    if header.get_data_dtype().kind not in "iuf":
        raise ScanError(path, f"has no single real number per voxel ({header.get_data_dtype()}); convert it")
    lies = bool(header["sform_code"] or header["qform_code"])
    if not lies and not assume:
        raise ScanError(
            path,
            "does not say which way its axes point (sform and qform codes are 0), and left and right are "
            "never guessed; convert it again with the orientation kept, or say it with --assume RAS",
        )
    claimed = int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize
    check_claim(path, claimed, packed=_is_packed(path))
    zooms = header.get_zooms()[:3]
    affine = np.asarray(file.affine, np.float64) if lies else assumed_affine(assume, zooms)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)
