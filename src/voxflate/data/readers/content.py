"""Recognises a file's format by its first bytes, if its name is missing, wrong or ambiguous."""

from __future__ import annotations

import zlib
from pathlib import Path

GZIP_MARK = b"\x1f\x8b"
HEAD = 1024
"""Number of bytes that are read."""

_DICOM_MARK = b"DICM"
_NIFTI_SIZE, _NIFTI_MARKS = (348).to_bytes(4, "little"), (b"n+1", b"ni1")
"""The start of a NIfTI-1 header in either byte order, and the magic that its predecessor Analyze lacks."""
_MGH_VERSION, _MGH_KINDS = 1, 11
_MGH_FLAGS = (b"\0\0", b"\0\1")
"""The first number of an MGH header, the number of its codes for voxel types, and its flag for an affine."""
_FIRST_GROUPS = (2, 8)
_LONG_FORMS = (b"OB", b"OD", b"OF", b"OL", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")


def head_of(path: Path, *, unpack: bool = False) -> bytes:
    """The first `HEAD` bytes of a file.

    Args:
        path: The file.
        unpack: Whether to return the first bytes of a gzip file's content instead.

    Raises:
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if unpack and head.startswith(GZIP_MARK):
        try:
            return zlib.decompressobj(wbits=31).decompress(head, HEAD)
        except zlib.error:
            return b""
    return head


def is_dicom_head(head: bytes) -> bool:
    """Tell whether bytes are the start of a DICOM file, with or without its preamble of 128 bytes.

    Without it, the file must begin with three complete elements with ascending tags from DICOM's first
    groups.
    """
    return head[128:132] == _DICOM_MARK or _begins_with_elements(head)


def _begins_with_elements(head: bytes) -> bool:
    place, last = 0, (0, 0)
    for _ in range(3):
        group, element = (int.from_bytes(head[place + at : place + at + 2], "little") for at in (0, 2))
        if place + 8 > len(head) or group not in _FIRST_GROUPS or (group, element) <= last:
            return False
        place, last = _after_element(head, place), (group, element)
    return True


def _after_element(head: bytes, place: int) -> int:
    """The offset at which an element ends; past the end if its length makes no sense."""
    form = head[place + 4 : place + 6]
    if form in _LONG_FORMS:
        return place + 12 + int.from_bytes(head[place + 8 : place + 12], "little")
    if form.isalpha() and form.isupper():
        return place + 8 + int.from_bytes(head[place + 6 : place + 8], "little")
    return place + 8 + int.from_bytes(head[place + 4 : place + 8], "little")


def suffix_by_content(head: bytes) -> str:
    """The usual suffix for a scan's first bytes (unpacked); empty if it is not a format that we read."""
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return ".nii"
    if head.startswith(b"NRRD000"):
        return ".nrrd"
    if head.startswith(b"ObjectType") and b"NDims" in head:
        return ".mha"
    return ".mgh" if _begins_like_mgh(head) else ""


def _begins_like_mgh(head: bytes) -> bool:
    """Tell whether bytes begin with MGH's version, sides, voxel type and flag; the format has no mark."""
    version, *sides, kind = (int.from_bytes(head[at : at + 4], "big") for at in range(0, 24, 4))
    plausible = all(0 < side < 2**16 for side in sides) and kind < _MGH_KINDS and head[28:30] in _MGH_FLAGS
    return version == _MGH_VERSION and plausible


def hint(path: Path) -> str:
    """What an unreadable file appears to be instead; empty if unknown."""
    try:
        head = head_of(path)
    except OSError:
        return ""
    text = head.lstrip().lower()
    if not head:
        return "the file is empty"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "it is a web page; download the file again"
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the file with git lfs pull"
    if b"/annex/objects/" in text[:256]:
        return "it is a git-annex pointer; fetch the file with datalad get"
    if is_dicom_head(head):
        return "it is DICOM; name it .dcm"
    if _NIFTI_SIZE in (head[:4], head[3::-1]) and head[344:347] not in _NIFTI_MARKS:
        return "it is Analyze 7.5, which does not say which way its axes point; convert it to NIfTI"
    if head.startswith(b"PK\x03\x04"):
        return "it is a ZIP archive; unpack it"
    return ""
