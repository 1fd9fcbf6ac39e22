"""Records the files written for each volume, and writes the table of labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxflate._system.files import whole_file
from voxflate.data.channels import LabelValue

Labels = Mapping[str, LabelValue]

PARTICIPANTS = "participants.tsv"
LABELS = "labels.csv"


@dataclass(frozen=True)
class Kept:
    """One volume in a folder.

    Attributes:
        name: The volume's name, such as "sample-0000".
        images: Files of the image channels, relative to the folder.
        mask: File of the mask; empty if there is none.
        labels: Its labels, requested or drawn.
    """

    name: str
    images: tuple[str, ...]
    mask: str
    labels: Labels


def write_labels(folder: Path, kept: Sequence[Kept], name: str = LABELS) -> None:
    """Write a CSV table with a line per volume: name and labels; no file if there are no labels."""
    _write_table(folder / name, "sample", ",", kept, str)


def write_participants(path: Path, kept: Sequence[Kept], named: Callable[[str], str] = str) -> None:
    """Write a table of the volumes' labels as in BIDS; no file if there are no labels.

    Args:
        path: TSV file to write.
        kept: The volumes.
        named: The volume's name -> participant_id.
    """
    _write_table(path, "participant_id", "\t", kept, named)


def _write_table(
    path: Path, head: str, delimiter: str, kept: Sequence[Kept], named: Callable[[str], str]
) -> None:
    columns = [*dict.fromkeys(column for one in kept for column in one.labels)]
    if not columns:
        return
    if head in columns:
        head = f"{head}_name"
    text = io.StringIO()
    table = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    table.writerow([head, *columns])
    for one in kept:
        table.writerow([named(one.name), *(_text(one.labels.get(column, "n/a")) for column in columns)])
    with whole_file(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _text(value: LabelValue) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"
