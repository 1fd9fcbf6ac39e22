"""Examines a file with an ambiguous name: DICOM slices, a scan in another format, or something else."""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.content import head_of, is_dicom_head
from voxflate.data.readers.dicom_slices import SUFFIXES, Slice, is_dicom, not_a_scan, read_slices
from voxflate.data.readers.refusals import ScanError
from voxflate.data.readers.table import VOXEL_SUFFIXES, reader_by_content

SCAN = "a scan in one file"
"""A scan recognised by its content."""

_OTHER = "not a scan"
_PACKED_DICOM = "packed DICOM: unpack it"
_ARCHIVE = "an archive, which is not searched: unpack it"
_FORMAT = "an unsupported format: convert it to NIfTI"
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst")
_UNREAD = (
    ".mnc", ".par", ".rec", ".h5", ".hdf5", ".npy", ".tif", ".tiff", ".vtk", ".vti", ".gipl", ".v", ".brik",
    ".head", ".fdf", ".2dseq", ".pic", ".mif", ".mif.gz", ".pt", ".pkl", ".mat", ".ecat",
)  # fmt: skip
_NO_SCANS = (
    ".txt", ".md", ".rst", ".json", ".csv", ".tsv", ".xls", ".xlsx", ".doc", ".docx", ".pdf", ".html", ".htm",
    ".css", ".js", ".xml", ".log", ".ini", ".inf", ".cfg", ".toml", ".yml", ".yaml", ".py", ".sh", ".ipynb",
    ".bval", ".bvec", ".exe", ".dll", ".db", ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".svg", ".mp4", ".avi",
    ".lnk", ".lock", ".license",
)  # fmt: skip
"""Never scans, so it does not matter if they cannot be opened."""


def look_inside(path: Path) -> list[Slice] | str | VoxflateError:
    """Examine a file.

    Returns:
        DICOM slices; `SCAN` for another format that can be read; the reason why the file is left out; or, for
        a damaged scan, the error.
    """
    name = path.name.lower()
    try:
        if name.endswith(SUFFIXES):
            return _called_dicom(path)
        if is_dicom(path):
            return _slices(path)
        head = b"" if name.endswith(_PACKED) else head_of(path, unpack=True)
        if reader_by_content(head):
            return SCAN
        if is_dicom_head(head):
            return _PACKED_DICOM
    except VoxflateError as error:
        return error
    except OSError as error:
        if name.endswith(_NO_SCANS):
            return _OTHER
        return ScanError(
            path,
            f"may be a scan but cannot be opened ({error.strerror}); change its permissions, or remove it",
        )
    return _reason(name)


def may_be_scan(path: Path) -> bool:
    """Tell by its content whether a file should be a scan or part of one."""
    found = look_inside(path)
    return found is SCAN or not isinstance(found, str)


def _called_dicom(path: Path) -> list[Slice] | str:
    """Examine a file with DICOM's suffix; its first bytes are looked at only if it cannot be read as that."""
    try:
        return _slices(path)
    except ScanError as error:
        head = head_of(path, unpack=True)
        if reader_by_content(head):
            return SCAN
        if is_dicom_head(head) and not is_dicom_head(head_of(path)):
            raise ScanError(path, "is DICOM packed with gzip; unpack it") from error
        raise


def _slices(path: Path) -> list[Slice] | str:
    slices = read_slices(path)
    return next(filter(None, map(not_a_scan, slices)), slices)


def _reason(name: str) -> str:
    """Why a file is left out, without its name."""
    if name.endswith(VOXEL_SUFFIXES):
        return "voxels without their header (.hdr, .mhd or .nhdr)"
    for suffixes, what in ((_PACKED, _ARCHIVE), (_UNREAD, _FORMAT)):
        suffix = next((one for one in suffixes if name.endswith(one)), "")
        if suffix:
            return f"{what} ({suffix})"
    return _OTHER
