"""Checks that a prepared set is the one of a training or an evaluation."""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.data.prepared import PreparedSet
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import list_snapshots

NEXT_STEP = "give its folder with --data FOLDER, or continue with --other-data, which every file then says"


def check_content(found: str, known: str, what: str, next_step: str, *, go_on: bool = False) -> str:
    """Compare two content hashes of prepared sets.

    Args:
        found: Hash of the given set.
        known: Hash of the expected set.
        what: Message that they differ.
        next_step: What the user can do.
        go_on: Report it instead of refusing.

    Returns:
        A line for every file written from here on; "" if the hashes are equal.

    Raises:
        VoxflateError: If they differ, unless `go_on`; gives the beginning of both.
    """
    if found == known:
        return ""
    line = f"{what} (sha256 {found[:12]}, was {known[:12]})"
    if not go_on:
        raise VoxflateError(f"{line}; {next_step}")
    return line


def check_trained_on(prepared: PreparedSet, known: str, folder: Path, *, go_on: bool = False) -> str:
    """Compare a prepared set with the one that a run or an export was trained on; see `check_content`."""
    what = f"{prepared.root}: is not the data that {folder} was trained on"
    return check_content(prepared.content_hash, known, what, NEXT_STEP, go_on=go_on)


def check_same_data(run: Path, config: RunConfig, prepared: PreparedSet) -> None:
    """Refuse to resume a run with other data than it started with.

    Raises:
        VoxflateError: Names both.
    """
    known = read_facts(run)["data"] if list_snapshots(run) else prepared.content_hash
    what = f"{config.data}: is not the data that {run} was trained on"
    next_step = "give its folder with --set data=FOLDER, or start a new run"
    check_content(prepared.content_hash, known, what, next_step)
