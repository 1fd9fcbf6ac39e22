"""MGH and MGZ files, as FreeSurfer writes them, read by nibabel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from voxflate.data.readers.packed import unpacked
from voxflate.data.readers.refusals import (
    ScanError,
    check_claim,
    check_grid,
    check_orientation,
    check_voxels,
    unreadable,
)
from voxflate.data.volume import Geometry, Volume, assumed_affine

_header: Any = nib.freesurfer.mghformat.MGHHeader
_FIELDS, _VOXELS = 90, 284
"""Bytes of the header's fields, and where the voxels begin."""
_CHUNK = 2**20


def mgh_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of an MGH file, from its header.

    Raises:
        ScanError: If the file is not a 3D image, claims more voxels than it can hold, or has no
            orientation.
    """
    with _open(path) as (_, header, packed):
        return _geometry(path, header, assume, packed=packed)


def read_mgh(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Voxels and grid of an MGH file.

    Raises:
        ScanError: As `mgh_geometry`; also if the data is damaged, holds NaN or infinity, or is constant.
    """
    with _open(path) as (stream, header, packed):
        geometry = _geometry(path, header, assume, packed=packed)
        try:
            kind = header.get_data_dtype()
            stream.read(_VOXELS - _FIELDS)
            content = stream.read(int(np.prod(geometry.shape, dtype=object)) * kind.itemsize)
            array = np.frombuffer(content, kind).reshape(geometry.shape).astype(np.float32)
            while stream.read(_CHUNK):  # the checksum of a packed file is at its end
                pass
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "MGH", error) from error
    return Volume(check_voxels(path, array, air), geometry.affine)


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any, bool]]:
    """The stream after the header's fields, the header, and whether the file is packed."""
    with ExitStack() as opened:
        try:
            stream, packed = unpacked(path, opened)
            header = _header(stream.read(_FIELDS))
            header.get_data_dtype()  # raises for an unknown code
        except Exception as error:  # a damaged file makes the parser raise anything
            raise unreadable(path, "MGH", error) from error
        yield stream, header, packed


def _geometry(path: Path, header: Any, assume: str, *, packed: bool) -> Geometry:
    shape = tuple(int(side) for side in header.get_data_shape())
    if len(shape) != 3 or min(shape) < 2:
        raise ScanError(
            path, f"has {'x'.join(map(str, shape))} voxels, expected a 3D volume; remove or split it"
        )
    lies = bool(header["goodRASFlag"] == 1)
    check_orientation(path, known=lies or bool(assume))
    check_claim(path, int(np.prod(shape, dtype=object)) * header.get_data_dtype().itemsize, packed=packed)
    zooms = header.get_zooms()[:3]
    affine = np.array(header.get_affine(), np.float64) if lies else assumed_affine(assume, zooms)
    check_grid(path, affine)
    return Geometry((shape[2], shape[1], shape[0]), affine)
