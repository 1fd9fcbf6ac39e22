"""Reading scans: one reader per kind of file, chosen by suffix.

To add a format: write a `Reader` (grid alone, grid and voxels) and add its suffixes to `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from voxflate.data.checks import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.itk import itk_geometry, read_itk
from voxflate.data.npz import npz_geometry, read_npz
from voxflate.data.volume import Geometry, Volume, assumed_affine


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read.

    Attributes:
        geometry: Reads the header only: the grid in the file's own orientation.
        volume: Reads the voxels too, float32 in the source's units.

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
    return _geometry(path, _open_nifti(path), assume)


def read_nifti(path: Path, assume: str = "") -> Volume:
    """A NIfTI file's voxels (slope and intercept applied) and grid.

    Raises:
        ScanError: As `nifti_geometry`; also if the file is cut short, holds NaN or infinity, or if all
            its voxels are equal.
    """
    image = _open_nifti(path)
    geometry = _geometry(path, image, assume)
    try:
        array = np.asarray(image.dataobj)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "NIfTI", error) from error
    array = array.reshape(geometry.shape[::-1]).T.astype(np.float32)
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


def _open_nifti(path: Path) -> Any:
    try:
        image: Any = nib.nifti1.Nifti1Image.from_filename(path)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "NIfTI", error) from error
    return image


def _geometry(path: Path, image: Any, assume: str) -> Geometry:
    shape = tuple(image.shape)
    # A fourth axis of length 1 is how some tools write a 3D image.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        kind = f"{len(shape)}D image" if len(shape) != 3 else "single slice"
        raise ScanError(
            path, f"is a {kind} ({'x'.join(map(str, shape))}), expected a 3D volume; remove or split it"
        )
    if image.get_data_dtype().kind not in "iuf":
        raise ScanError(path, f"has no single real number per voxel ({image.get_data_dtype()}); convert it")
    lies = bool(image.header["sform_code"] or image.header["qform_code"])
    if not lies and not assume:
        raise ScanError(
            path,
            "does not say which way its axes point (sform and qform codes are 0), and left and right are "
            "never guessed; convert it again with the orientation kept, or say it with --assume RAS",
        )
    claimed = int(np.prod(shape, dtype=object)) * image.get_data_dtype().itemsize
    check_claim(path, claimed, packed=path.name.lower().endswith(".gz"))
    zooms = image.header.get_zooms()[:3]
    affine = np.asarray(image.affine, np.float64) if lies else assumed_affine(assume, zooms)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)
