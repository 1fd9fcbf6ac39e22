"""Reads tables written by spreadsheets: any common encoding, separator and line end; one dict per row."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.refusals import printable

LARGEST = 64 * 2**20
"""Largest size of a list, bytes."""

_SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""First bytes of Excel and other spreadsheet files."""
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SEPARATORS = ",;\t|"
_SPELLINGS = {
    name.replace("_", ""): name for name in ("file", "filename", "participant_id", "patient_id", "subject_id")
}
"""Names of columns without what differs between spellings -> their usual spelling."""
_EXCEL_MARK = re.compile(r"\W?sep=.", re.IGNORECASE)
"""A first line that tells Excel the separator."""


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
    if content.startswith(_SPREADSHEETS):
        raise VoxflateError(f"{path}: is a spreadsheet or an archive, not text; save the table as CSV")
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def column_name(text: str) -> str:
    """A column's name in lower case; those of files and people in one spelling.

    >>> column_name(" Patient ID "), column_name("PatientID"), column_name("Age")
    ('patient_id', 'patient_id', 'age')
    """
    name = text.strip().lower()
    return _SPELLINGS.get(re.sub(r"[\s_-]+", "", name), name)


def read_rows(path: Path, wanted: Collection[str], expected: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with a header line.

    Args:
        path: Text file; its separator is the one with which the header has a wanted column.
        wanted: Names of columns as `column_name` gives them, at least one of which is required.
        expected: What to say is wanted if there is none, and the next step.

    Yields:
        The line number, from 2 on, and a dict with every `column_name` -> value, empty where a row is short.
        Empty rows are skipped.

    Raises:
        VoxflateError: If there is no wanted column, or a row has more cells than the header.
    """
    # Old Macs end lines with a carriage return, and spreadsheets mix line ends.
    lines = read_text(path).replace("\r\n", "\n").replace("\r", "\n")
    header, _, rest = lines.partition("\n")
    if _EXCEL_MARK.fullmatch(header.strip()):  # the line stays, so that line numbers match an editor's
        lines, header = f"\n{rest}", rest.partition("\n")[0]
    separator = next((one for one in _SEPARATORS if _names(header, one) & set(wanted)), ",")
    reader = csv.reader(io.StringIO(lines), delimiter=separator, skipinitialspace=True)
    try:
        names = [column_name(cell) for cell in next(filter(None, reader), [])]
        _check_names(path, names, wanted, expected)
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells[len(names) :]):
                raise VoxflateError(
                    f"{path}: line {reader.line_num} has {len(cells)} cells, the header {len(names)}; put a "
                    "path "
                    f"that contains {separator!r} in quotes"
                )
            if any(cells):
                yield reader.line_num, dict(zip_longest(names, cells[: len(names)], fillvalue=""))
    except csv.Error as error:
        raise VoxflateError(f"{path}: cannot be read as a table, line {reader.line_num} ({error})") from error


def _check_names(path: Path, names: Sequence[str], wanted: Collection[str], expected: str) -> None:
    """Refuse a header without a wanted column, or with a repeated one."""
    if names and not set(names) & set(wanted):
        shown = printable(", ".join(filter(None, names)))[:200]
        raise VoxflateError(f"{path}: has the columns {shown}, expected {expected}")
    twice = next((name for name in names if name and names.count(name) > 1), "")
    if twice:
        raise VoxflateError(f"{path}: has two columns called {printable(twice)}; rename or remove one")


def _names(header: str, separator: str) -> set[str]:
    return {column_name(cell.strip(' "')) for cell in header.split(separator)}
