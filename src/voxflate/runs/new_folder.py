"""Refuses a folder for a new run in which files would be lost."""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.config.toml import CONFIG_NAME
from voxflate.runs.facts import FACTS_NAME, read_facts
from voxflate.runs.lock import LOCK_NAME
from voxflate.runs.snapshots import FOLDER, list_snapshots

_OF_A_START = {LOCK_NAME, FACTS_NAME, CONFIG_NAME, "inflation.json", FOLDER, "tensorboard"}
"""What a run has before its first snapshot."""


def check_new_folder(run: Path) -> None:
    """Refuse a folder that is not empty, unless a run in it stopped before its first snapshot.

    Raises:
        VoxflateError: Says what is there, and the next step.
    """
    if list_snapshots(run):
        raise VoxflateError(
            f"{run}: holds snapshots; continue its training with --resume, or choose another folder"
        )
    names = {path.name for path in run.iterdir() if not path.name.startswith(".")} if run.is_dir() else set()
    if names <= {LOCK_NAME}:
        return
    if FACTS_NAME not in names:
        name = min(names - {LOCK_NAME})
        raise VoxflateError(f"{run}: is not empty, it has {name}; choose a new or empty folder for the run")
    read_facts(run)
    if more := names - _OF_A_START:
        raise VoxflateError(
            f"{run}: a run was trained here (it has {min(more)}), but its snapshots are missing; put "
            f"{run / FOLDER} back and add --resume, or choose a new folder"
        )
