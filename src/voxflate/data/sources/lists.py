"""Lists of scans: a table or a MONAI datalist with the subject and split of every scan.

CSV or TSV: a header line with the column `file` and, optionally, `subject` and `split`.
JSON: {"training": [{"image": "a.nii.gz", "subject": "7"}], "validation": [...]}, as in MONAI's datalists.

Several channels: a column per channel, and one for the mask. If `image` is a list of files, it counts as the
columns image-0, image-1, ... All other columns may serve as labels.

Paths are relative to the list. A path is a file, or a folder with one DICOM series or more.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import parse_json
from voxflate.data.readers.refusals import printable
from voxflate.data.readers.table import suffix_of
from voxflate.data.sources.spelling import composed
from voxflate.data.sources.tables import column_name, read_rows, read_text

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "heldout": "heldout",
    "held-out": "heldout",
    "val": "heldout",
    "validation": "heldout",
    "test": "heldout",
    "testing": "heldout",
}
"""Names of the two splits in lists; everything that is not for training is held out."""

_FILE_COLUMNS = ("file", "path", "image", "filename")
_SUBJECT_COLUMNS = ("subject", "subject_id", "participant_id", "patient_id")
_NOBODY = ("n/a", "nan", "null")
"""How tables write that a subject is unknown, in lower case; otherwise such scans would be of one person."""
_SHOWN = 120

MASK = -1
"""Channel number of a mask; image channels are counted from 0."""


@dataclass(frozen=True)
class Entry:
    """A line of a list.

    Attributes:
        path: File or folder.
        where: Its line, for messages.
        subject: The subject of the scan; empty if the list does not give it.
        split: One of `prepared.SPLITS`; empty if the list does not give it.
        channel: Index of the image channel in its line, or `MASK`.
        values: The line's columns that are not files, in lower case.
    """

    path: Path
    where: str
    subject: str = ""
    split: str = ""
    channel: int = 0
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Columns:
    """Columns with files, as `column_name` gives them.

    Attributes:
        images: One per image channel; if there are none, the usual column for files, or all images
            if a datalist has several.
        mask: Column of the mask; empty for none.
    """

    images: tuple[str, ...] = ()
    mask: str = ""


USUAL = Columns()


def read_list(path: Path, columns: Columns = USUAL, *, allow_outside: bool = False) -> list[Entry]:
    """Read a list of scans.

    Args:
        path: The list; `LISTS` has its suffixes.
        columns: Columns that have files.
        allow_outside: Allow paths outside the list's folder.

    Returns:
        The entries, at least one, in the list's order; one per file, so several for a line with several
        channels.

    Raises:
        VoxflateError: If the list cannot be read, names a path twice, one that does not exist or one outside
            its folder, or gives a split to only some of the scans.
    """
    entries = list(LISTS[path.suffix.lower()](path, columns))
    if not entries:
        raise VoxflateError(f"{path}: lists no scans; add a line per scan")
    seen: dict[str, str] = {}
    for entry in entries:
        same = os.path.normpath(entry.path)
        if same in seen:
            raise VoxflateError(
                f"{path}: lists {printable(entry.path)} twice, {seen[same]} and {entry.where}; remove one"
            )
        seen[same] = entry.where
        if not allow_outside:
            _check_inside(path, entry)
    without = [entry.where for entry in entries if not entry.split]
    if without and len(without) < len(entries):
        raise VoxflateError(
            f"{path}: gives a split to only some scans ({without[0]} has none); give it to all, or to none"
        )
    return entries


def _check_inside(path: Path, entry: Entry) -> None:
    """Refuse paths and links that lead outside: a list from others must not open arbitrary files."""
    if not entry.path.resolve().is_relative_to(path.parent.resolve()):
        raise VoxflateError(
            f"{path}: lists {printable(entry.path)} ({entry.where}), which lies outside the list's folder; "
            "allow "
            "it with --allow-outside"
        )


def _table(path: Path, columns: Columns) -> Iterator[Entry]:
    expected = "file (and subject, split); is it a list of scans?"
    if columns.images:
        expected = f"{' or '.join(columns.images)}; name the columns of the files with --channel NAME=COLUMN"
    entries = [
        entry
        for number, row in read_rows(path, columns.images or _FILE_COLUMNS, expected)
        for entry in _entries(path, f"line {number}", dict(row), row.get("split", ""), columns)
    ]
    # A spreadsheet may leave cells below the first of a group empty, and then each row would be a person.
    without = [entry.where for entry in entries if not entry.subject]
    if without and len(without) < len(entries):
        raise VoxflateError(
            f"{path}: gives a subject to only some scans ({without[0]} has none); give it to all, or leave "
            "the column out"
        )
    yield from entries


def _json(path: Path, columns: Columns) -> Iterator[Entry]:
    try:
        content = parse_json(read_text(path).removeprefix("\ufeff"), unique=True)
    except ValueError as error:
        raise VoxflateError(f"{path}: is not valid JSON ({error})") from error
    named = content if isinstance(content, dict) else {}
    lists = {key: items for key, items in named.items() if key.strip().lower() in SPLIT_NAMES}
    if not lists:
        raise VoxflateError(
            f"{path}: is not a datalist, expected an object with lists called {', '.join(SPLIT_NAMES)}"
        )
    _check_others(path, {key: items for key, items in named.items() if key not in lists}, columns)
    for split, items in lists.items():
        # A list for training alone may be split at random; a list of held-out scans is never trained on.
        says_split = len(lists) > 1 or SPLIT_NAMES[split.strip().lower()] == "heldout"
        for number, item in enumerate(items if isinstance(items, list) else [items]):
            where = f"{split}[{number}]"
            item = {"image": item} if isinstance(item, str) else item
            if not isinstance(item, dict):
                raise VoxflateError(f"{path}: {where} is not an object with an image")
            values = _flat({column_name(str(name)): value for name, value in item.items()})
            split_of_item = split if says_split else values.get("split", "")
            yield from _entries(path, where, values, split_of_item, columns)


def _check_others(path: Path, others: Mapping[str, Any], columns: Columns) -> None:
    """Refuse scans under a name that is not a split: they would be missing."""
    names = {*_FILE_COLUMNS, *columns.images}
    for key, items in others.items():
        if _has_scans(items, names):
            raise VoxflateError(
                f"{path}: has a list of scans called {printable(key)!r}, which is not a split; call it one "
                f"of {', '.join(SPLIT_NAMES)}, or remove it"
            )


def _has_scans(items: object, names: Collection[str]) -> bool:
    """Whether a part of a datalist has a list of file names, or of objects that name a file."""
    if isinstance(items, dict):
        return any(_has_scans(one, names) for one in items.values())
    for item in items if isinstance(items, list) else []:
        files = isinstance(item, dict) and any(item[name] for name in item if column_name(name) in names)
        if files or (isinstance(item, str) and suffix_of(item)) or _has_scans(item, names):
            return True
    return False


def _flat(item: dict[str, Any]) -> dict[str, Any]:
    """An object of a datalist in which every file has its own name: image-0, image-1, ..."""
    images = item.get("image")
    if isinstance(images, list):
        item = {name: value for name, value in item.items() if name != "image"}
        item |= {f"image-{number}": file for number, file in enumerate(images)}
    return item


def image_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns made from a datalist's list of images, in order."""
    found = [name for name in names if re.fullmatch(r"image-\d+", name)]
    return tuple(sorted(found, key=lambda name: int(name.split("-")[1])))


def _entries(
    path: Path, where: str, values: dict[str, Any], split: object, columns: Columns
) -> Iterator[Entry]:
    """The entries of one line from its named values, one per file; a channel without a file has none."""
    usual = next((name for name in _FILE_COLUMNS if values.get(name)), "")
    images = columns.images or ((usual,) if usual else image_columns(values))
    chosen = {name: number for number, name in enumerate(images)}
    if columns.mask:
        chosen[columns.mask] = MASK
    known = str(split).strip().lower()
    if known and known not in SPLIT_NAMES:
        raise VoxflateError(
            f"{path}: {where} has the split {split!r}; expected one of {', '.join(SPLIT_NAMES)}"
        )
    said = (str(values[name]).strip() for name in _SUBJECT_COLUMNS if values.get(name) is not None)
    subject = next((one for one in said if one and one.lower() not in _NOBODY), "")
    others = {name: _text(value) for name, value in values.items() if name not in chosen}
    files = {name: values[name] for name in chosen if values.get(name)}
    if not files or not all(isinstance(file, str) for file in files.values()):
        raise VoxflateError(
            f"{path}: {where} does not name exactly one file under {' or '.join(chosen or _FILE_COLUMNS)}"
        )
    for column, file in files.items():
        found = _find(path, f"{where}, column {column}", file)
        yield Entry(found, where, subject, SPLIT_NAMES.get(known, ""), chosen[column], others)


def _text(value: object) -> str:
    """Convert a value of a datalist to the text that a table would have."""
    return "" if value is None else str(value).strip()


def _find(path: Path, where: str, file: str) -> Path:
    """The file that a cell names; Windows path separators and accents in either spelling work too.

    Raises:
        VoxflateError: If it does not exist.
    """
    forms = (file, composed(file), unicodedata.normalize("NFD", file))
    for name in dict.fromkeys(one for form in forms for one in (form, form.replace("\\", "/"))):
        try:
            (path.parent / name).stat()
        except (OSError, ValueError) as error:  # over-long names, loops of links, a NUL
            reason = getattr(error, "strerror", None) or str(error)
        else:
            return path.parent / name
    shown = printable(file)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    other = _other_case(path.parent, file)
    advice = f"there is {printable(other)}; correct the list" if other else "correct the list"
    raise VoxflateError(f"{path}: {where} lists {shown}, which does not exist ({reason}); {advice}")


def _other_case(folder: Path, file: str) -> str:
    """An existing path that differs only in upper and lower case; empty if there is none."""
    found = folder
    try:
        for part in file.replace("\\", "/").split("/"):
            same = [one.name for one in found.iterdir() if one.name.lower() == part.lower()]
            if not same:
                return ""
            found /= same[0]
    except OSError:
        return ""
    other = found.relative_to(folder).as_posix()
    return "" if other == file else other


LISTS: dict[str, Callable[[Path, Columns], Iterator[Entry]]] = {
    ".csv": _table,
    ".tsv": _table,
    ".json": _json,
}
"""Suffix of a list -> its reader."""
