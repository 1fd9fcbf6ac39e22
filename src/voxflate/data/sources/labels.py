"""Labels of subjects from columns of a list of scans, or of a participants file beside the scans."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.refusals import printable
from voxflate.data.sources.source import Source
from voxflate.data.sources.spelling import composed
from voxflate.data.sources.split import bids_label
from voxflate.data.sources.tables import column_name, read_rows

PARTICIPANTS = ("participants.tsv", "participants.csv")
KINDS = ("categorical", "continuous")
MISSING = frozenset(("", "n/a", "na", "nan", "null"))
"""How tables write an unknown value, in lower case."""

_ID_COLUMNS = ("participant_id", "subject", "subject_id", "patient_id", "id", "participant", "patient")
_EXPECTED = (
    f"one of {', '.join(_ID_COLUMNS)}, which says whose row it is; rename the column, or prepare the table "
    "as a list if it has a column file"
)
_TEXTS, _SPREADSHEETS = (".csv", ".tsv"), (".xlsx", ".xls", ".ods")


@dataclass(frozen=True)
class Wanted:
    """A requested label column.

    Attributes:
        name: As requested.
        kind: One of `KINDS`, or empty to decide by the values.
    """

    name: str
    kind: str = ""


def wanted_labels(texts: Iterable[str]) -> tuple[Wanted, ...]:
    """Read "sex" and "sex:categorical".

    Raises:
        VoxflateError: If a kind is unknown, or a column is named twice.
    """
    found: dict[str, Wanted] = {}
    for text in texts:
        name, _, kind = text.partition(":")
        if not name.strip() or {*"{}"} & {*name} or (kind and kind not in KINDS):
            raise VoxflateError(f"--label {text}: expected COLUMN, or COLUMN:{' or COLUMN:'.join(KINDS)}")
        if column_name(name) in found:
            raise VoxflateError(f"--label {text}: the column {name} is named twice")
        found[column_name(name)] = Wanted(name, kind)
    return tuple(found.values())


@dataclass(frozen=True)
class Known:
    """The labels found for some scans.

    Attributes:
        values: For each scan, a value per wanted column; a missing one is left out.
        table: The file that they come from.
        rows: For each scan, the id of its row in a participants file; empty if it has none.
        ids: All ids of the participants file; empty if a list has the labels.
        from_participants: Whether `table` is a participants file.
    """

    values: list[dict[str, str]]
    table: Path
    rows: list[str]
    ids: tuple[str, ...] = ()
    from_participants: bool = False


def known_labels(source: Path, scans: Sequence[Source], wanted: Sequence[Wanted]) -> Known:
    """The wanted values of every scan.

    Args:
        source: Folder of scans, with a participants file in it or above it, or a list.
        scans: The scans, with the columns of their list if there is one.
        wanted: The requested columns.

    Raises:
        VoxflateError: If no table has a column, or the table contradicts itself.
    """
    names = [column_name(one.name) for one in wanted]
    listed = {name for scan in scans for name in scan.labels}
    if set(names) <= listed:
        return Known([_chosen(scan.labels, wanted) for scan in scans], source, [""] * len(scans))
    path = participants_file(source)
    if path is None:
        missing = next(one.name for one in wanted if column_name(one.name) not in listed)
        raise _without_table(source, names, listed, missing)
    table = _Table(path, names, listed)
    rows = [table.find(scan) for scan in scans]
    given = [{name: value for name, value in scan.labels.items() if value} for scan in scans]
    both = [{**table.values(row), **values} for row, values in zip(rows, given, strict=True)]
    return Known([_chosen(values, wanted) for values in both], path, rows, table.ids, True)


def _without_table(source: Path, names: Sequence[str], listed: Iterable[str], missing: str) -> VoxflateError:
    """The error that no table has a label, with the table that may have been meant."""
    has, advice = "there is no list", f"write one with the columns participant_id and {missing}"
    if shown := ", ".join(sorted(listed)):
        has, advice = f"the list has the columns {shown}", "add the column to the list"
    if other := _other_table(source, names):
        to = PARTICIPANTS[0] if other.suffix.lower() == ".tsv" else PARTICIPANTS[1]
        how = "rename it to" if other.suffix.lower() in _TEXTS else "if it has the labels, save it as"
        advice = f"there is {printable(other)}: {how} {to}"
    return VoxflateError(
        f"{source}: no table has the label {missing}: {has}, and no {' or '.join(PARTICIPANTS)} lies beside "
        f"the scans; {advice}"
    )


def _other_table(source: Path, names: Sequence[str]) -> Path | None:
    """A table with one of the columns that lies where a participants file is looked for, or a spreadsheet."""
    found = [path for place in _places(source) for path in sorted(place.glob("*")) if path != source]
    for path in found:
        if path.suffix.lower() in _TEXTS and path.is_file():
            with suppress(VoxflateError):
                next(read_rows(path, names, ""), None)
                return path
    return next((path for path in found if path.suffix.lower() in _SPREADSHEETS), None)


def _chosen(values: Mapping[str, str], wanted: Sequence[Wanted]) -> dict[str, str]:
    found = {one.name: values.get(column_name(one.name), "").strip() for one in wanted}
    return {name: value for name, value in found.items() if value.lower() not in MISSING}


def participants_file(source: Path) -> Path | None:
    """The participants file beside the scans; None if there is none."""
    paths = (place / name for place in _places(source) for name in PARTICIPANTS)
    return next((path for path in paths if path.is_file()), None)


def _places(source: Path) -> tuple[Path, ...]:
    """Where a participants file may lie: in the folder of the scans or the one above, or beside the list."""
    return (source, source.resolve().parent) if source.is_dir() else (source.parent,)


class _Table:
    """Rows of a participants file by subject.

    Args:
        path: The file.
        names: The wanted columns.
        listed: Columns that the list of scans has, so that the file need not have them.
    """

    def __init__(self, path: Path, names: Sequence[str], listed: Container[str] = ()) -> None:
        self._path = path
        self._rows: dict[str, dict[str, str]] = {}
        for line, row in read_rows(path, _ID_COLUMNS, _EXPECTED):
            if missing := [name for name in names if name not in row and name not in listed]:
                raise VoxflateError(
                    f"{path}: has no column {missing[0]}; it has {', '.join(row)}. Choose one with --label"
                )
            column = next(name for name in _ID_COLUMNS if name in row)
            subject = composed(row[column]).removeprefix("sub-")
            if not subject:  # a line of means or totals, or a blank one
                continue
            values = {name: row[name] for name in names if name in row}
            if self._rows.setdefault(subject, values) != values:
                raise VoxflateError(
                    f"{path}: line {line} repeats {row[column]} with other values; keep one of its lines"
                )

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all rows."""
        return tuple(self._rows)

    def values(self, row: str) -> dict[str, str]:
        """The values of a row; none for an id that it does not have."""
        return self._rows.get(row, {})

    def find(self, scan: Source) -> str:
        """The id of the row of a scan's subject; empty if there is none.

        Raises:
            VoxflateError: If the scan's path has the names of two subjects.
        """
        subject = scan.subject.removeprefix("sub-")
        if subject in self._rows:
            return subject
        if label := bids_label(composed(scan.name)):
            return label if label in self._rows else ""
        if scan.reading.subjects == "folder" and "/" in scan.name:  # then other folders name no subject
            return ""
        found = list(dict.fromkeys(filter(None, (self._known(names) for names in _names(scan)))))
        if len(found) > 1:
            first, second = (printable(name) for name in found[:2])
            raise VoxflateError(
                f"{printable(scan.path)}: its path has the names of two subjects of {self._path.name}, "
                f"{first} and {second}; say whose scan it is with --subjects folder (the first folder below "
                "the source), or with a list that has a column subject"
            )
        return found[0] if found else ""

    def _known(self, names: Iterable[str]) -> str:
        """The first name that the table has; empty if it has none."""
        return next((name for name in names if name in self._rows), "")


def _names(scan: Source) -> Iterator[Iterable[str]]:
    """Places of a path that may name the scan's subject, each with its possible names, the most likely first.

    These are the file's name with its prefixes up to each separator, longest first, and every folder.
    """
    path = PurePosixPath(composed(scan.name))
    stem = path.name.split(".")[0]
    ends = [found.start() for found in re.finditer(r"[_\-.\s]", stem)]
    yield [stem[:end] for end in (len(stem), *reversed(ends))]
    yield from ([folder.removeprefix("sub-")] for folder in reversed(path.parts[:-1]))
