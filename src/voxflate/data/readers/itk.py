"""NRRD and MetaImage files, read by SimpleITK."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.readers.refusals import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.volume import Float64, Geometry, Volume, assumed_affine

_HEADER = 65536
# SimpleITK takes an upright scan where a header says nothing, so the header's text is asked.
_ORIENTED = {
    ".nrrd": re.compile(rb"^space *:", re.MULTILINE),
    ".mha": re.compile(rb"^ *(TransformMatrix|Rotation|Orientation) *=", re.MULTILINE),
}


def itk_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of a NRRD or MetaImage file with its data inside, from its header.

    Raises:
        ScanError: If it is no 3D image with one number per voxel, claims more voxels than it can hold, or
            does not say how it lies.
    """
    return _geometry(path, _open(path), assume)


def read_itk(path: Path, assume: str = "") -> Volume:
    """Voxels and grid of a NRRD or MetaImage file.

    Raises:
        ScanError: As `itk_geometry`; also if the data is damaged, holds NaN or infinity, or is constant.
    """
    reader = _open(path)
    geometry = _geometry(path, reader, assume)
    reader.SetOutputPixelType(simple_itk().sitkFloat32)
    try:
        array = simple_itk().GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise unreadable(path, "an image", error) from error
    check_voxels(path, array)
    return Volume(array, geometry.affine)


def simple_itk() -> Any:
    """SimpleITK, loaded at first use: a preparation of NIfTI files alone does without.

    It says that it is typed, but most of its functions are not.
    """
    import SimpleITK

    return SimpleITK


def world_affine(directions: Float64, spacing: Float64, origin: Float64) -> Float64:
    """ITK's geometry as an affine.

    Args:
        directions: [3, 3], one column per file axis, ITK's world (x to the left, y to the back).
        spacing: Voxel sides along the file axes, mm.
        origin: Position of the first voxel, mm.

    Returns:
        4x4, file index -> world mm, RAS+.
    """
    affine = np.eye(4)
    affine[:3] = np.column_stack([directions * spacing, origin])
    affine[:2] *= -1
    return affine


def _open(path: Path) -> Any:
    reader = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    reader.GlobalWarningDisplayOff()
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise unreadable(path, "an image", error) from error
    return reader


def _geometry(path: Path, reader: Any, assume: str) -> Geometry:
    with open(path, "rb") as file:
        header = file.read(_HEADER)
    lies = bool(_ORIENTED[path.suffix.lower()].search(header))
    if not lies and not assume:
        raise ScanError(
            path,
            "does not say which way its axes point, and left and right are never guessed; convert it again "
            "with the orientation kept, or say it with --assume RAS",
        )
    size = tuple(reader.GetSize())
    if len(size) != 3 or min(size) < 2:
        raise ScanError(
            path, f"is of {'x'.join(map(str, size))} voxels, expected a 3D volume; remove or split it"
        )
    if reader.GetNumberOfComponents() != 1:
        raise ScanError(path, f"has {reader.GetNumberOfComponents()} numbers per voxel; convert it")
    check_claim(path, int(np.prod(size, dtype=object)), packed=True)
    directions = np.array(reader.GetDirection(), np.float64).reshape(3, 3)
    sides = np.array(reader.GetSpacing())
    origin = np.array(reader.GetOrigin())
    affine = world_affine(directions, sides, origin) if lies else assumed_affine(assume, sides.tolist())
    check_grid(path, affine)
    return Geometry((size[2], size[1], size[0]), affine)
