"""Whether a prepared set is the one that a run was trained on, or an evaluation measured with."""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.data.prepared import PreparedSet
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import list_snapshots

NEXT_STEP = "name that folder with --data FOLDER, or continue with --other-data, which every file then says"


def check_content(found: str, known: str, what: str, next_step: str, *, go_on: bool = False) -> str:
    """Compare two content hashes of prepared sets.

    Args:
        found: Hash of the set at hand.
        known: Hash of the set that is wanted.
        what: Says that the one is not the other.
        next_step: What the user can do about it.
        go_on: Say so instead of refusing.

    Returns:
        One line for every file that is written from here on; "" if the hashes are equal.

    Raises:
        VoxflateError: If they differ, unless `go_on`; names the beginnings of both.
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
    """Refuse to resume a run with other data than it began with.

    Raises:
        VoxflateError: Names both.
    """
    known = read_facts(run)["data"] if list_snapshots(run) else prepared.content_hash
    what = f"{config.data}: is not the data that {run} was trained on"
    next_step = "name that folder with --set data=FOLDER, or start a new run"
    check_content(prepared.content_hash, known, what, next_step)
