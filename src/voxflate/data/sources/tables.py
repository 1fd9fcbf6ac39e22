"""Tables as spreadsheets write them: any common encoding, separator and line end; one dict per row."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from voxflate._system.errors import VoxflateError

LARGEST = 64 * 2**20
"""Bytes of a list that is read."""

_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEPARATORS = ",;\t|"


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, UTF-16 (by its byte order mark) or, failing that, Windows' Latin-1.

    Raises:
        VoxflateError: If the file cannot be read or is too large.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise VoxflateError(f"{path}: has {size:,} bytes, at most {LARGEST:,} are read; is it a list?")
        content = path.read_bytes()
    except OSError as error:
        raise VoxflateError(f"{path}: cannot be read ({error.strerror or error})") from error
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def read_rows(path: Path, wanted: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with a header line.

    Args:
        path: Text file; the separator is the one under which the header has a wanted column.
        wanted: Names of columns, lower case, one of which must be there.

    Yields:
        The number of the line, from 2 on, and column in lower case -> value. Empty rows are passed over.

    Raises:
        VoxflateError: If no wanted column is there, or a row has more cells than the header.
    """
    # Old Macs end lines with a carriage return, and spreadsheets mix line ends.
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    header = lines.split("\n", 1)[0]
    separator = next((one for one in _SEPARATORS if _names(header, one) & set(wanted)), ",")
    reader = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
    try:
        names = [cell.strip().lower() for cell in next(reader, [])]
        if names and not set(names) & set(wanted):
            raise VoxflateError(
                f"{path}: has the columns {', '.join(filter(None, names))[:200]}, expected file (and "
                "subject, "
                "split); is it a list of scans?"
            )
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells[len(names) :]):
                raise VoxflateError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, the header {len(names)}; put a "
                    "path "
                    f"that holds {separator!r} between quotes"
                )
            if any(cells):
                yield reader.line_num, dict(zip(names, cells, strict=False))
    except csv.Error as error:
        raise VoxflateError(f"{path}: cannot be read as a table, line {reader.line_num} ({error})") from error


def _names(header: str, separator: str) -> set[str]:
    return {cell.strip(' "').lower() for cell in header.split(separator)}
