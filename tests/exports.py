"""Exports for tests: what `voxflate export` writes."""

from __future__ import annotations

from pathlib import Path

from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded
from voxflate.sharing.about import Words
from voxflate.sharing.targets import share


def export_generator(run: Path, out: Path, snapshot: Snapshot = "newest") -> Loaded:
    """Export the generator of a run without any words about it."""
    return share(run, "folder", out, Words(), snapshot).loaded
