"""Unpacks compressed voxels to the end of their stream, where the checksum is: some libraries stop before."""

from __future__ import annotations

import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from isal import igzip, isal_zlib

from voxflate.data.readers.content import GZIP_MARK, head_of
from voxflate.data.readers.refusals import ScanError, unreadable

_CHUNK = 2**16
"""Bytes unpacked at a time; even of zeros they give only 64 MiB."""
_MOST_INFLATED = 2**31
"""Largest size to which a deflated data set may unpack, bytes."""
_GZIP, _ZLIB = 31, 15
"""How zlib calls the two wrappers of a deflate stream."""


def unpacked(path: Path, opened: ExitStack) -> tuple[Any, bool]:
    """Open a file, and unpack it if its first bytes say so, regardless of its name.

    Returns:
        The stream, which `opened` closes, and whether it is unpacked.
    """
    stream: Any = opened.enter_context(path.open("rb"))
    packed = stream.read(2) == GZIP_MARK
    stream.seek(0)
    return (opened.enter_context(igzip.open(stream)) if packed else stream), packed


def sizes_of(path: Path, voxels: Path, start: int) -> tuple[int, int]:
    """Unpack a compressed stream to its end, and forget what it holds.

    Args:
        path: The scan, for messages.
        voxels: The file of the stream.
        start: Where it begins, bytes.

    Returns:
        Bytes of the stream, and of what it holds.

    Raises:
        ScanError: If it is damaged or cut short.
    """
    read = size = 0
    try:
        with voxels.open("rb") as file:
            file.seek(start)
            packed = file.read(_CHUNK)
            unpacker = isal_zlib.decompressobj(_GZIP if packed.startswith(GZIP_MARK) else _ZLIB)
            while packed and not unpacker.eof:
                read += len(packed)
                size += len(unpacker.decompress(packed))
                packed = file.read(_CHUNK)
            if not unpacker.eof:
                raise ValueError(f"its compressed voxels end after {size:,} bytes, too early")
    except Exception as error:  # a damaged stream makes the library raise errors of its own
        raise unreadable(path, "an image", error) from error
    return read - len(unpacker.unused_data), size


def check_inflated(path: Path, syntax: str) -> None:
    """Refuse a deflated DICOM data set that would unpack to too much memory, before the parser unpacks it.

    Args:
        path: A DICOM file.
        syntax: The UID of the deflated transfer syntax.

    Raises:
        ScanError: Gives the limit.
    """
    head = head_of(path)
    if syntax.encode() not in head or head[128:132] != b"DICM":
        return
    # The group length of the file meta elements tells where the deflated part begins.
    start = 144 + int.from_bytes(head[140:144], "little")
    unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with open(path, "rb") as file:
        file.seek(start)
        while (packed := unpacker.unconsumed_tail or file.read(2**16)) and size <= _MOST_INFLATED:
            size += len(unpacker.decompress(packed, 2**22))
    if size > _MOST_INFLATED:
        raise ScanError(
            path, f"unpacks to more than {_MOST_INFLATED:,} bytes; export it with another transfer syntax"
        )
