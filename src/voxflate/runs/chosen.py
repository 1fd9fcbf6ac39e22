"""Chooses a snapshot of a run: the newest, the best, or the one after a number of kimg."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.runs.snapshots import (
    best_snapshot,
    images_of,
    list_snapshots,
    load_newest,
    load_snapshot,
)

Snapshot = str | float
"""A choice: "newest", "best" (lowest kernel distance to the held-out volumes), or a number of kimg."""


def load_run_snapshot(
    run: Path, which: Snapshot, on_skip: Callable[[str], None] | None = None
) -> tuple[dict[str, Any], Path]:
    """Load the chosen snapshot of a run.

    Args:
        run: Run folder.
        which: The choice.
        on_skip: Called with the reason for every damaged snapshot that is skipped for "newest".

    Raises:
        VoxflateError: If there is none, or it is damaged.
    """
    if which == "newest":
        return load_newest(run, on_skip)
    path = find_snapshot(run, which)
    return load_snapshot(path), path


def find_snapshot(run: Path, which: Snapshot) -> Path:
    """The file of the chosen snapshot, without reading it.

    Raises:
        VoxflateError: If there is none.
    """
    paths, found = list_snapshots(run), None
    if which == "newest":
        found = paths[-1] if paths else None
    elif which == "best":
        found = best_snapshot(run)
    elif (kimg := kimg_of(which)) is not None:
        found = next((path for path in paths if images_of(path) == round(kimg * 1000)), None)
    if found is None:
        known = ", ".join(f"{images_of(path) / 1000:g}" for path in paths) or "it has no snapshot"
        raise VoxflateError(
            f"{run}: has no snapshot {in_words(which)}; give newest, one of its kimg ({known}), or best, "
            "which needs measurements during training (evaluation.every) and two held-out volumes or more"
        )
    return found


def kimg_of(which: Snapshot) -> float | None:
    """The requested number of kimg; None if it is not a finite number."""
    try:
        kimg = float(which)
    except (TypeError, ValueError):
        return None
    return kimg if math.isfinite(kimg) else None


def in_words(which: Snapshot) -> str:
    """The choice as text.

    >>> in_words("best"), in_words(0.4)
    ('best', '0.4')
    """
    return which if isinstance(which, str) else f"{which:g}"
