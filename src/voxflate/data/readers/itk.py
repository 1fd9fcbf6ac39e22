"""NRRD and MetaImage files, read by SimpleITK; the voxels may be in a second file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.readers.itk_header import Header, read_header
from voxflate.data.readers.packed import sizes_of
from voxflate.data.readers.refusals import (
    ScanError,
    check_claim,
    check_grid,
    check_orientation,
    check_voxels,
    unreadable,
)
from voxflate.data.volume import Float64, Geometry, Volume, assumed_affine


def itk_files(path: Path) -> tuple[Path, ...]:
    """The files of a scan: one file, or a header and a voxel file.

    Raises:
        ScanError: If the header names several voxel files, one outside its folder, or a missing one.
    """
    return read_header(path).files


def itk_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of a NRRD or MetaImage file, from its header.

    Raises:
        ScanError: If it is not a 3D image with one number per voxel, claims more voxels than it can hold, has
            no orientation, or is not in mm.
    """
    with _open(path) as (reader, header):
        return _geometry(reader, header, assume)


def read_itk(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Voxels (MetaImage's slope and offset applied) and grid of a NRRD or MetaImage file.

    Raises:
        ScanError: As `itk_geometry`; also if the data is damaged, holds NaN or infinity, or is constant.
    """
    with _open(path) as (reader, header):
        geometry = _geometry(reader, header, assume)
        if (start := header.packed_from) is not None:
            _check_packed(reader, header, start)
        reader.SetOutputPixelType(simple_itk().sitkFloat32)
        try:
            array = simple_itk().GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise unreadable(path, "an image", error) from error
    slope, offset = header.scale
    if (slope, offset) != (1, 0):
        with np.errstate(over="ignore"):  # values that are too large become infinite and are refused
            array = np.asarray(array * np.float64(slope) + np.float64(offset), np.float32)
    return Volume(check_voxels(path, array, air), geometry.affine)


def simple_itk() -> Any:
    """SimpleITK, loaded at first use: a preparation of only NIfTI files does not need it.

    SimpleITK claims to be typed, but most of its functions are not.
    """
    import SimpleITK

    return SimpleITK


@contextmanager
def itk_name(files: tuple[Path, ...]) -> Iterator[str]:
    """A path by which SimpleITK can open the first of some files.

    SimpleITK ends the process when given a path that is not UTF-8, so such files get links with plain names
    while the block runs.
    """
    try:
        str(files[0]).encode()
        yield str(files[0])
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="voxflate-") as folder:
            for index, path in enumerate(files):
                name = path.relative_to(files[0].parent) if index else f"scan{path.suffix.lower()}"
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).symlink_to(path.resolve())
            yield f"{folder}/scan{files[0].suffix.lower()}"


def world_affine(directions: Float64, spacing: Float64, origin: Float64) -> Float64:
    """Convert ITK's geometry to an affine.

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


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Header]]:
    header = read_header(path)
    header.check_format()
    reader = simple_itk().ImageFileReader()
    reader.SetImageIO(header.format)
    with itk_name(header.files) as name:
        reader.SetFileName(name)
        reader.GlobalWarningDisplayOff()
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise unreadable(path, "an image", error) from error
        yield reader, header


def _geometry(reader: Any, header: Header, assume: str) -> Geometry:
    path, lies = header.path, header.lies
    check_orientation(path, known=lies or bool(assume))
    header.check_units()
    size = tuple(reader.GetSize())
    if len(size) != 3 or min(size) < 2:
        raise ScanError(
            path, f"has {'x'.join(map(str, size))} voxels, expected a 3D volume; remove or split it"
        )
    if reader.GetNumberOfComponents() != 1:
        raise ScanError(path, f"has {reader.GetNumberOfComponents()} numbers per voxel; convert it")
    check_claim(header.files[-1], int(np.prod(size, dtype=object)), packed=True)
    directions = np.array(reader.GetDirection(), np.float64).reshape(3, 3)
    sides = np.array(reader.GetSpacing())
    origin = np.array(reader.GetOrigin())
    affine = world_affine(directions, sides, origin) if lies else assumed_affine(assume, sides.tolist())
    check_grid(path, affine)
    return Geometry((size[2], size[1], size[0]), affine, header.note)


def _check_packed(reader: Any, header: Header, start: int) -> None:
    """Refuse compressed voxels of which the library would return only a part, without a word."""
    packed, size = sizes_of(header.path, header.files[-1], start)
    one = simple_itk().Image([1, 1, 1], reader.GetPixelID())
    needed = int(np.prod(reader.GetSize(), dtype=object)) * int(one.GetSizeOfPixelComponent())
    if size < needed or (size > needed and not header.is_nrrd):
        raise ScanError(
            header.path,
            f"is damaged: its compressed voxels hold {size:,} bytes, its header claims {needed:,}; replace "
            "or remove it",
        )
    stated = header.packed_size
    if stated is not None and stated != packed:
        raise ScanError(
            header.path,
            f"has {packed:,} bytes of compressed voxels, its header says {stated:,} (CompressedDataSize, or "
            "0 without one); save it again",
        )
