"""Snapshots on the disk: written whole, found again, the newest valid one loaded."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from voxflate.errors import VoxflateError
from voxflate.files import whole_file
from voxflate.training.state import FORMAT

FOLDER = "snapshots"


def snapshot_path(run: Path, n_images: int) -> Path:
    """Where the snapshot after `n_images` images lies."""
    return run / FOLDER / f"snapshot-{n_images:09d}.pt"


def remove_unfinished(run: Path) -> None:
    """Delete what a process that was killed while writing a snapshot left behind."""
    for path in (run / FOLDER).glob(".tmp-*"):
        path.unlink(missing_ok=True)


def list_snapshots(run: Path) -> list[Path]:
    """The run's snapshots, oldest first."""
    return sorted((run / FOLDER).glob("snapshot-*.pt"))


def save_snapshot(run: Path, state: dict[str, Any], keep: int) -> Path:
    """Write a snapshot, then delete those after it and all but the newest `keep` up to it.

    Raises:
        VoxflateError: If it cannot be written; the snapshots before it stay.
    """
    path = snapshot_path(run, state["n_images"])
    # Through memory (some megabytes): PyTorch's own writer hides why the disk refused.
    content = io.BytesIO()
    torch.save(state, content)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    # Newer ones can only be damaged leftovers that a resumed training passed over.
    stale = [other for other in list_snapshots(run) if other.name > path.name]
    for old in stale + [other for other in list_snapshots(run) if other not in stale][:-keep]:
        old.unlink()
    return path


def load_snapshot(path: Path) -> dict[str, Any]:
    """Read a snapshot without running code from it.

    Raises:
        VoxflateError: If the file is damaged, or is no snapshot of this version.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such snapshot") from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise VoxflateError(f"{path}: is not a snapshot, or is damaged; use an older one") from error
    except zipfile.BadZipFile as error:
        raise VoxflateError(f"{path}: is damaged; use an older one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise VoxflateError(f"{path}: snapshot format {found}, this version of voxflate reads {FORMAT}")
    return state


def load_newest(run: Path) -> tuple[dict[str, Any], Path]:
    """Load the newest snapshot that is whole.

    Raises:
        VoxflateError: If there is none.
    """
    paths = list_snapshots(run)
    if not paths:
        raise VoxflateError(f"{run}: no snapshot to load; is it a run folder, and has it trained?")
    problems = []
    for path in reversed(paths):
        try:
            return load_snapshot(path), path
        except VoxflateError as error:
            problems.append(str(error))
    raise VoxflateError(f"{run}: none of its {len(paths)} snapshots can be read ({problems[0]})")
