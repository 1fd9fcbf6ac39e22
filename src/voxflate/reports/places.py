"""Where evaluations and audits are written: new folders, in which nothing is written over."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.outside import check_outside_sets
from voxflate.reports.evaluations import AUDIT, AUDIT_PAIRS, FOLDER, METRICS, SAMPLES, Place, new_folder
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Source

REPORT, _TABLES = "report.html", ("table.md", "table.tex")
_BESIDE = {METRICS: (SAMPLES, REPORT, *_TABLES), AUDIT: (AUDIT_PAIRS,), REPORT: _TABLES}  # written with it


def place_for(source: Source, out: Path | None, snapshot: Snapshot, name: str = METRICS) -> Place:
    """The output folder for an evaluation, audit or utility; older files are never overwritten.

    Args:
        source: The run or export.
        out: The user's folder; None for a new one in RUN/evaluation.
        snapshot: The snapshot to measure.
        name: The file that will be written: METRICS, AUDIT or UTILITY.

    Raises:
        VoxflateError: As `check_folder`, or if an evaluation would be written into an export: it shows real
            scans, and exports are shared.
    """
    folder = source.folder
    check_folder(out, name)
    if source.exported is None:
        return Place(out or new_folder(folder, snapshot, name), folder)
    if out is None or out.resolve().is_relative_to(folder.resolve()):
        raise VoxflateError(
            f"{folder}: is an export, and an evaluation shows real scans, which must not be shared with it; "
            "give another folder with --out FOLDER"
        )
    return Place(out, None)


@contextmanager
def reserved(place: Place, name: str) -> Iterator[Place]:
    """Hold the numbered folder of a run while its files are made; the next one if another command has it.

    Args:
        place: From `place_for`.
        name: The file that will be written: METRICS, AUDIT or UTILITY.
    """
    folder = place.folder
    number, _, rest = folder.name.partition("-")
    if place.run is None or folder.parent != place.run / FOLDER or not number.isdecimal():
        yield place
        return
    held: int | None = None
    for count in itertools.count(int(number)):
        folder = folder.with_name(f"{count:03d}-{rest}")
        if folder.is_dir() and any(folder.iterdir()) and not (folder / name).exists():
            if (held := _claimed(folder)) is not None:
                break  # shared with files of another kind
            continue
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    try:
        yield replace(place, folder=folder)
    finally:
        if held is not None:
            os.close(held)
        with suppress(OSError):  # of folders with files
            folder.rmdir()
            folder.parent.rmdir()


def _claimed(folder: Path) -> int | None:
    """A lock on a folder that others write to as well; None if another command has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # not every file system has locks
        pass
    return descriptor


def check_folder(out: Path | None, name: str) -> None:
    """Refuse a user's folder that is in a prepared set, or already has a file to write.

    Args:
        out: The folder; None for none.
        name: The main file: METRICS, AUDIT, UTILITY, or REPORT for a report alone.

    Raises:
        VoxflateError: Names the prepared set, or the file that would be overwritten.
    """
    if out is None:
        return
    check_outside_sets(out)
    for found in (out / each for each in (name, *_BESIDE.get(name, ())) if (out / each).exists()):
        raise VoxflateError(f"{found}: already exists and is kept; give another folder with --out FOLDER")
