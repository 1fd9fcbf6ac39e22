"""NRRD and MetaImage files, read by SimpleITK; the voxels may be in a second file."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from voxflate.data.readers.refusals import ScanError, check_claim, check_grid, check_voxels, unreadable
from voxflate.data.volume import Float64, Geometry, Volume, assumed_affine

_HEADER = 65536
# SimpleITK assumes the identity orientation if a header has none, so the header's text is searched.
_NRRD_ORIENTED = re.compile(rb"^space *:", re.MULTILINE)
_NRRD_UNITS = re.compile(rb"^space units *: *([^\r\n]+)", re.MULTILINE)
_MILLIMETRES = {b"mm", b"millimeter", b"millimeters", b"millimetre", b"millimetres", b""}
_META_ORIENTED = re.compile(rb"^ *(TransformMatrix|Rotation|Orientation) *=", re.MULTILINE)
_NRRD_DATA = re.compile(rb"^data ?file: *([^\r\n]+)", re.MULTILINE | re.IGNORECASE)
_META_DATA = re.compile(rb"^ *ElementDataFile *= *([^\r\n]+)", re.MULTILINE)


def itk_files(path: Path) -> tuple[Path, ...]:
    """The files of a scan: one file, or a header and a voxel file.

    Raises:
        ScanError: If the header names several voxel files, one outside its folder, or a missing one.
    """
    header = _header(path)
    named = (_NRRD_DATA if _is_nrrd(header) else _META_DATA).search(header)
    name = named[1].decode("utf-8", "surrogateescape").strip() if named else "LOCAL"
    if name.upper() == "LOCAL":
        return (path,)
    if name.split()[0] == "LIST" or "%" in name:
        raise ScanError(path, "keeps its voxels in several files; save it as one file")
    if PureWindowsPath(name).anchor or PurePosixPath(name).anchor or ".." in re.split(r"[/\\]", name):
        raise ScanError(
            path, "names a voxel file outside its folder ({name}); save it again beside its header", name=name
        )
    if not path.with_name(name).is_file():
        raise ScanError(
            path, "names a voxel file that does not exist ({name}); copy it beside its header", name=name
        )
    return (path, path.parent / name)


def itk_geometry(path: Path, assume: str = "") -> Geometry:
    """The grid of a NRRD or MetaImage file, from its header.

    Raises:
        ScanError: If it is not a 3D image with one number per voxel, claims more voxels than it can hold, or
            has no orientation.
    """
    with _open(path) as reader:
        return _geometry(path, reader, assume)


def read_itk(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Voxels and grid of a NRRD or MetaImage file.

    Raises:
        ScanError: As `itk_geometry`; also if the data is damaged, holds NaN or infinity, or is constant.
    """
    with _open(path) as reader:
        geometry = _geometry(path, reader, assume)
        reader.SetOutputPixelType(simple_itk().sitkFloat32)
        try:
            array = simple_itk().GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise unreadable(path, "an image", error) from error
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
                name = path.name if index else f"scan{path.suffix.lower()}"
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
def _open(path: Path) -> Iterator[Any]:
    reader = simple_itk().ImageFileReader()
    try:
        files = itk_files(path)
    except OSError as error:
        raise unreadable(path, "an image", error) from error
    with itk_name(files) as name:
        reader.SetFileName(name)
        reader.GlobalWarningDisplayOff()
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise unreadable(path, "an image", error) from error
        yield reader


def _header(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEADER)


def _is_nrrd(header: bytes) -> bool:
    return header.startswith(b"NRRD")


def _geometry(path: Path, reader: Any, assume: str) -> Geometry:
    header = _header(path)
    lies = bool((_NRRD_ORIENTED if _is_nrrd(header) else _META_ORIENTED).search(header))
    if not lies and not assume:
        raise ScanError(
            path,
            "does not say which way its axes point, and left and right are never guessed; convert it again "
            "with the orientation kept, or give it with --assume RAS",
        )
    unit = _NRRD_UNITS.search(header) if _is_nrrd(header) else None
    if unit and set(re.findall(rb'"([^"]*)"', unit[1])) - _MILLIMETRES:
        raise ScanError(
            path, "does not give its voxel sides in mm ({units}); save it again in mm", units=unit[1].decode()
        )
    size = tuple(reader.GetSize())
    if len(size) != 3 or min(size) < 2:
        raise ScanError(
            path, f"has {'x'.join(map(str, size))} voxels, expected a 3D volume; remove or split it"
        )
    if reader.GetNumberOfComponents() != 1:
        raise ScanError(path, f"has {reader.GetNumberOfComponents()} numbers per voxel; convert it")
    check_claim(itk_files(path)[-1], int(np.prod(size, dtype=object)), packed=True)
    directions = np.array(reader.GetDirection(), np.float64).reshape(3, 3)
    sides = np.array(reader.GetSpacing())
    origin = np.array(reader.GetOrigin())
    affine = world_affine(directions, sides, origin) if lies else assumed_affine(assume, sides.tolist())
    check_grid(path, affine)
    return Geometry((size[2], size[1], size[0]), affine)
