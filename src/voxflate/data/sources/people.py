"""Whose scans they are: checks the files of one volume, and completes subjects from a table of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from voxflate.data.readers.refusals import ScanError
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Source
from voxflate.data.sources.spelling import composed
from voxflate.data.sources.split import subject_of

_MANY = 5
"""Scans per row of a table, on average, beyond which a row may not be a person."""


def is_unknown(scan: Source) -> bool:
    """Whether no header, list, BIDS label or folder says whose scan it is."""
    if scan.series and not scan.series.patient and scan.subject == f"study {scan.series.study}":
        return True
    path = composed(scan.name).removesuffix(f"#{scan.stack + 1}")
    return scan.subject == path == subject_of(Path(path))


def with_subjects(scans: Sequence[Source], rows: Sequence[str], table: str, account: Account) -> list[Source]:
    """Take the subjects of scans of unknown people from a table of labels, a row being one person.

    If a header names the person of another scan with the same row, that name is taken (decision 0209).

    Args:
        scans: The scans.
        rows: For each, the id of its row; empty if it has none.
        table: Name of the table, for notes.
        account: Receives how many subjects were taken, and that several people share a row.
    """
    if not scans or scans[0].reading.subjects == "file":  # then each file is a person, as the user says
        return list(scans)
    named: dict[str, set[str]] = {}
    for scan, row in zip(scans, rows, strict=True):
        if row and not is_unknown(scan):
            named.setdefault(row, set()).add(scan.subject)
    found, taken, count = [], set(), 0
    for scan, row in zip(scans, rows, strict=True):
        if row and is_unknown(scan):
            taken.add(row)
            count += 1
            scan = replace(scan, subject=min(named.get(row, {row})))
        found.append(scan)
    if taken:
        were = "subject was" if len(taken) == 1 else "subjects were"
        account.note(f"{len(taken)} {were} taken from {table}: scans with the same row are of one person")
    if count > _MANY * len(taken) > 0:
        account.note(
            f"{count} scans share {len(taken)} rows of {table}; if a row is not one person (but a site or a "
            "scanner, say), use --subjects file, or a list with a column subject"
        )
    if several := sum(len(subjects) > 1 for subjects in named.values()):
        account.note(
            f"rows of {table} that several subjects share (by PatientID, list or BIDS label): {several}; "
            "these count as different people, and scans without a subject as the first of them; if a row is "
            "one person, give the subjects with --subjects folder, or with a list that has a column subject"
        )
    return found


def note_shared_patients(account: Account, scans: Sequence[tuple[Source, str]]) -> None:
    """Note that several subjects have one PatientID, as a list or --subjects says, and are in both splits.

    Args:
        account: Receives the note.
        scans: All scans of a set, each with its split.
    """
    sides: dict[str, set[str]] = {}
    for scan, split in scans:
        if scan.series and scan.series.patient:
            sides.setdefault(scan.series.patient, set()).add(split)
    if both := sum(len(splits) > 1 for splits in sides.values()):
        account.note(
            f"PatientIDs that several subjects share, and that are both trained on and held out: {both}; "
            "these subjects count as different people; if a PatientID is one person, correct the list's "
            "column subject, or leave out --subjects"
        )


def other_person(scans: Sequence[Source]) -> ScanError | None:
    """The error that scans of one volume are of several people; None if nothing says so.

    Headers may name one person differently. A list's subjects, and the first folders under --subjects folder,
    say more than they do.

    Args:
        scans: The scans, at least one.
    """
    known = [one for one in scans if one.series and one.series.patient]
    if (
        len({one.series.patient for one in known if one.series}) < 2
        or len({one.subject for one in known}) < 2
    ):
        return None
    return ScanError(
        scans[0].path,
        "would be one volume with scans of other people: the PatientIDs of {names} differ; correct the "
        "pattern or the names that pair them, or say whose scans they are with a list that has a column "
        "subject, or with --subjects folder",
        names=" and ".join(one.name for one in known),
    )
