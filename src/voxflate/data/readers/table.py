"""Reads scans: one reader per file format, chosen by content, or by suffix if the content has no mark.

To add a format: write a `Reader` in a new module and add its suffixes to `READERS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voxflate.data.readers.content import head_of, suffix_by_content
from voxflate.data.readers.itk import itk_files, itk_geometry, read_itk
from voxflate.data.readers.mgh import mgh_geometry, read_mgh
from voxflate.data.readers.nifti import nifti_files, nifti_geometry, read_nifti
from voxflate.data.readers.npz import npz_geometry, read_npz
from voxflate.data.readers.refusals import ScanError
from voxflate.data.volume import Geometry, Volume


def _alone(path: Path) -> tuple[Path, ...]:
    return (path,)


@dataclass(frozen=True)
class Reader:
    """The functions that read one file format.

    Attributes:
        geometry: Reads only the header and returns the grid in the file's own orientation. Takes the path and
            the orientation to assume if the file has none; with "" such a file is refused.
        volume: Also reads the voxels, in the source's units. Takes the same, and the largest value
            that NaN may become (None to refuse it).
        files: Lists all files of the scan, the one that names it first.
    """

    geometry: Callable[[Path, str], Geometry]
    volume: Callable[[Path, str, float | None], Volume]
    files: Callable[[Path], tuple[Path, ...]] = _alone


NIFTI = Reader(nifti_geometry, read_nifti, nifti_files)

ITK = Reader(itk_geometry, read_itk, itk_files)

MGH = Reader(mgh_geometry, read_mgh)

NPZ = Reader(npz_geometry, read_npz)

READERS: dict[str, Reader] = {
    ".nii": NIFTI,
    ".nii.gz": NIFTI,
    ".hdr": NIFTI,
    ".hdr.gz": NIFTI,
    ".nrrd": ITK,
    ".nhdr": ITK,
    ".mha": ITK,
    ".mhd": ITK,
    ".mgz": MGH,
    ".mgh": MGH,
    ".npz": NPZ,
}

VOXEL_SUFFIXES = (".img", ".img.gz", ".raw", ".raw.gz", ".zraw")
"""Suffixes of voxel files that belong to a header beside them."""


def suffix_of(name: str) -> str:
    """The longest known suffix of a file name, as written there; empty if there is none."""
    known = [suffix for suffix in (*READERS, *VOXEL_SUFFIXES) if name.lower().endswith(suffix)]
    return name[len(name) - max(map(len, known)) :] if known else ""


def reader_of(path: Path) -> Reader | None:
    """The reader for a file name, or None if no reader knows its suffix."""
    name = path.name.lower()
    return next((reader for suffix, reader in READERS.items() if name.endswith(suffix)), None)


def reader_by_content(head: bytes) -> Reader | None:
    """The reader for a file by its first bytes (unpacked); None if we do not read the format."""
    return READERS.get(suffix_by_content(head))


def read_volume(path: Path, assume: str = "", air: float | None = None) -> Volume:
    """Read one scan.

    Raises:
        ScanError: If no reader knows the file, or the reader refuses it.
    """
    return _reader(path).volume(path, assume, air)


def read_geometry(path: Path, assume: str = "") -> Geometry:
    """Read one scan's grid; the voxels are not touched.

    Raises:
        ScanError: If no reader knows the file, or the reader refuses it.
    """
    return _reader(path).geometry(path, assume)


def scan_files(path: Path) -> tuple[Path, ...]:
    """List all files of a scan, the one that names it first.

    Raises:
        ScanError: If no reader knows the file, or a file that belongs to it is missing.
    """
    return _reader(path).files(path)


def _reader(path: Path) -> Reader:
    named = reader_of(path)
    try:
        reader = reader_by_content(head_of(path, unpack=True)) or named
    except OSError:
        if named is None:
            raise
        reader = named  # reports why it cannot be read
    if reader is None:
        raise ScanError(path, f"unknown file format; expected a name ending in {', '.join(READERS)}")
    return reader
