"""Lists of scans: a CSV table or a MONAI datalist, which say whose a scan is and where it belongs.

CSV: a header line with the column `file`, and `subject` and `split` where wanted.
JSON: {"training": [{"image": "a.nii.gz", "subject": "7"}], "validation": [...]}, as MONAI's datalists.

Paths are relative to the list. A path is a file, or a folder with one DICOM series or more.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json

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
"""How lists call the two splits; what no network learns from is held out."""

_FILE_COLUMNS = ("file", "path", "image", "filename")
_SUBJECT_COLUMNS = ("subject", "subject_id", "participant_id", "patient_id")


@dataclass(frozen=True)
class Entry:
    """A line of a list.

    Attributes:
        path: File or folder.
        subject: Whose scan it is; empty where the list does not say.
        split: One of `prepared.SPLITS`; empty where the list does not say.
    """

    path: Path
    subject: str = ""
    split: str = ""


def read_list(path: Path, *, allow_outside: bool = False) -> list[Entry]:
    """Read a list of scans.

    Args:
        path: The list, .csv or .json.
        allow_outside: Let paths lead out of the folder that the list lies in.

    Returns:
        Its entries, at least one, in its order.

    Raises:
        VoxflateError: If the list cannot be read, names a path twice, one that is not there or one outside,
            or gives a split to some scans only.
    """
    entries = list(LISTS[path.suffix.lower()](path))
    if not entries:
        raise VoxflateError(f"{path}: lists no scan")
    seen: set[Path] = set()
    for entry in entries:
        if entry.path in seen:
            raise VoxflateError(f"{path}: lists {entry.path} twice")
        seen.add(entry.path)
        if not allow_outside:
            _check_inside(path, entry.path)
        if not entry.path.exists():
            raise VoxflateError(f"{path}: lists {entry.path}, which is not there")
    if len({bool(entry.split) for entry in entries}) > 1:
        raise VoxflateError(f"{path}: gives a split to some scans only; give it to all, or to none")
    return entries


def _check_inside(path: Path, entry: Path) -> None:
    """Refuse paths and links that lead elsewhere: a list from others must not open any file."""
    if not entry.resolve().is_relative_to(path.parent.resolve()):
        raise VoxflateError(
            f"{path}: lists {entry}, which lies outside the list's folder; allow it with --allow-outside"
        )


def _csv(path: Path) -> Iterator[Entry]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VoxflateError(f"{path}: cannot be read as CSV ({error})") from error
    columns = {str(name).strip().lower(): name for name in (rows[0] if rows else {})}
    if rows and not any(name in columns for name in _FILE_COLUMNS):
        raise VoxflateError(
            f"{path}: has the columns {', '.join(columns)}, expected file (and subject, split); is it a list "
            "of scans?"
        )
    for number, row in enumerate(rows, 2):
        lowered = {name: (row.get(column) or "").strip() for name, column in columns.items()}
        yield _entry(path, f"line {number}", lowered, lowered.get("split", ""))


def _json(path: Path) -> Iterator[Entry]:
    content = read_json(path)
    lists = {k: v for k, v in content.items() if k in SPLIT_NAMES} if isinstance(content, dict) else {}
    if not lists:
        raise VoxflateError(
            f"{path}: is no datalist, expected an object with lists called {', '.join(SPLIT_NAMES)}"
        )
    for split, items in lists.items():
        for number, item in enumerate(items if isinstance(items, list) else [items]):
            where = f"{split}[{number}]"
            item = {"image": item} if isinstance(item, str) else item
            if not isinstance(item, dict):
                raise VoxflateError(f"{path}: {where} is no object with an image")
            yield _entry(path, where, item, split if len(lists) > 1 else item.get("split", ""))


def _entry(path: Path, where: str, values: dict[str, Any], split: object) -> Entry:
    """One entry from its named values."""
    file = next((values[name] for name in _FILE_COLUMNS if values.get(name)), None)
    if not isinstance(file, str):
        raise VoxflateError(f"{path}: {where} names no single file under {' or '.join(_FILE_COLUMNS)}")
    if split and str(split).lower() not in SPLIT_NAMES:
        raise VoxflateError(
            f"{path}: {where} has the split {split!r}; expected one of {', '.join(SPLIT_NAMES)}"
        )
    subject = next((str(values[name]) for name in _SUBJECT_COLUMNS if values.get(name)), "")
    return Entry(path.parent / file, subject, SPLIT_NAMES[str(split).lower()] if split else "")


LISTS: dict[str, Callable[[Path], Iterator[Entry]]] = {".csv": _csv, ".json": _json}
"""Suffix of a list -> what reads it."""
