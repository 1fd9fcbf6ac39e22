"""MGH and MGZ files, as FreeSurfer writes them, read by nibabel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from voxflate.data.readers.content import GZIP_MARK, head_of
from voxflate.data.readers.refusals import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.volume import Geometry, Volume, assumed_affine

_image: Any = nib.freesurfer.mghformat.MGHImage


def mgh_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of an MGH file, from its header.

    Raises:
        ScanError: If the file is not a 3D image, claims more voxels than it can hold, or has no
            orientation.
    """
    return _geometry(path, _open(path), assume)


def read_mgh(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Voxels and grid of an MGH file.

    Raises:
        ScanError: As `mgh_geometry`; also if the data is damaged, holds NaN or infinity, or is constant.
    """
    image = _open(path)
    geometry = _geometry(path, image, assume)
    try:
        array = np.asarray(image.dataobj, np.float32)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "MGH", error) from error
    return Volume(check_voxels(path, array.reshape(geometry.shape[::-1]).T, air), geometry.affine)


def _open(path: Path) -> Any:
    try:
        return _image.from_filename(path, mmap=False)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "MGH", error) from error


def _geometry(path: Path, image: Any, assume: str) -> Geometry:
    shape = tuple(int(side) for side in image.shape)
    if len(shape) == 4 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            path, f"has {'x'.join(map(str, shape))} voxels, expected a 3D volume; remove or split it"
        )
    lies = bool(image.header["goodRASFlag"] == 1)
    if not lies and not assume:
        raise ScanError(
            path,
            "does not say which way its axes point, and left and right are never guessed; convert it again "
            "with the orientation kept, or give it with --assume RAS",
        )
    claimed = int(np.prod(shape, dtype=object)) * image.get_data_dtype().itemsize
    check_claim(path, claimed, packed=head_of(path).startswith(GZIP_MARK))
    zooms = image.header.get_zooms()[:3]
    affine = np.array(image.affine, np.float64) if lies else assumed_affine(assume, zooms)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)
