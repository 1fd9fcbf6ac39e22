"""Labels of subjects from columns of a list of scans, or of a participants file beside the scans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.refusals import printable
from voxflate.data.sources.source import Source
from voxflate.data.sources.split import bids_label
from voxflate.data.sources.tables import read_rows

PARTICIPANTS = ("participants.tsv", "participants.csv")
KINDS = ("categorical", "continuous")
MISSING = frozenset(("", "n/a", "na", "nan", "null"))
"""How tables write an unknown value, in lower case."""

_ID_COLUMNS = ("participant_id", "subject", "subject_id", "patient_id", "id")


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
        if name.lower() in found:
            raise VoxflateError(f"--label {text}: the column {name} is named twice")
        found[name.lower()] = Wanted(name, kind)
    return tuple(found.values())


def known_labels(
    source: Path, scans: Sequence[Source], wanted: Sequence[Wanted]
) -> tuple[list[dict[str, str]], str]:
    """The wanted values of every scan; a missing one is left out.

    Args:
        source: Folder of scans, with a participants file in it or above it, or a list.
        scans: The scans, with the columns of their list if there is one.
        wanted: The requested columns.

    Returns:
        A value per column for each scan, and the file that they come from.

    Raises:
        VoxflateError: If no table has a column, or the table contradicts itself.
    """
    names = [one.name.lower() for one in wanted]
    listed = {name for scan in scans for name in scan.labels}
    if set(names) <= listed:
        return [_chosen(scan.labels, wanted) for scan in scans], source.name
    path = _participants(source)
    if path is None:
        missing = next(one.name for one in wanted if one.name.lower() not in listed)
        has = f"the list has the columns {', '.join(sorted(listed))}" if listed else "there is no list"
        raise VoxflateError(
            f"{source}: no table has the label {missing}: {has}, and no {' or '.join(PARTICIPANTS)} "
            "lies beside the scans; add the column"
        )
    table = _Table(path, names)
    return [_chosen({**table.row(scan), **scan.labels}, wanted) for scan in scans], path.name


def _chosen(values: Mapping[str, str], wanted: Sequence[Wanted]) -> dict[str, str]:
    found = {one.name: values.get(one.name.lower(), "").strip() for one in wanted}
    return {name: value for name, value in found.items() if value.lower() not in MISSING}


def _participants(source: Path) -> Path | None:
    """The table beside the scans, in their folder or the one above."""
    folder = source if source.is_dir() else source.parent
    places = (folder, folder.resolve().parent) if source.is_dir() else (folder,)
    return next((place / name for place in places for name in PARTICIPANTS if (place / name).is_file()), None)


class _Table:
    """Rows of a participants file by subject."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path = path
        self._rows: dict[str, dict[str, str]] = {}
        for line, row in read_rows(path, _ID_COLUMNS):
            if missing := [name for name in names if name not in row]:
                raise VoxflateError(
                    f"{path}: has no column {missing[0]}; it has {', '.join(row)}. Choose one with --label"
                )
            column = next(name for name in _ID_COLUMNS if name in row)
            subject = row[column].removeprefix("sub-")
            values = {name: row[name] for name in names}
            if self._rows.setdefault(subject, values) != values:
                raise VoxflateError(
                    f"{path}: line {line} repeats {row[column]} with other values; keep one of its lines"
                )

    def row(self, scan: Source) -> dict[str, str]:
        """The row of a scan's subject; empty if there is none.

        Raises:
            VoxflateError: If the scan's path has the names of two subjects.
        """
        subject = scan.subject.removeprefix("sub-")
        if subject in self._rows:
            return self._rows[subject]
        if label := bids_label(scan.name):
            return self._rows.get(label, {})
        if scan.reading.subjects == "folder" and "/" in scan.name:  # then other folders name no subject
            return {}
        found = list(dict.fromkeys(filter(None, (self._known(names) for names in _names(scan)))))
        if len(found) > 1:
            first, second = (printable(name) for name in found[:2])
            raise VoxflateError(
                f"{printable(scan.path)}: its path has the names of two subjects of {self._path.name}, "
                f"{first} and {second}; say whose scan it is with --subjects folder (the first folder below "
                "the source), or with a list that has a column subject"
            )
        return self._rows[found[0]] if found else {}

    def _known(self, names: Iterable[str]) -> str:
        """The first name that the table has; empty if it has none."""
        return next((name for name in names if name in self._rows), "")


def _names(scan: Source) -> Iterator[Iterable[str]]:
    """Places of a path that may name the scan's subject, each with its possible names, the most likely first.

    These are the file's name with its prefixes up to each separator, longest first, and every folder.
    """
    path = PurePosixPath(scan.name)
    stem = path.name.split(".")[0]
    ends = [found.start() for found in re.finditer(r"[_\-.\s]", stem)]
    yield [stem[:end] for end in (len(stem), *reversed(ends))]
    yield from ([folder.removeprefix("sub-")] for folder in reversed(path.parts[:-1]))
