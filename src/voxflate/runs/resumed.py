"""Refuses settings of a continued run that contradict its past (decision 0086)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.config.toml import CONFIG_NAME, load_config
from voxflate.config.values import flat
from voxflate.runs.exported import weights_sha256
from voxflate.runs.facts import read_facts
from voxflate.runs.history import MAY_CHANGE
from voxflate.runs.snapshots import load_snapshot, snapshot_path
from voxflate.runs.trained_on import TrainedOn


def check_kept(run: Path, config: RunConfig) -> None:
    """Refuse settings that contradict a run's past.

    Raises:
        VoxflateError: Names the first such setting.
    """
    if refused := refused_change(run, config):
        key, before, now = refused
        raise VoxflateError(
            f"{run}: was started with {key} = {before}, the settings say {now}; a continued run keeps it: "
            f"use {run / CONFIG_NAME}, or start a new run"
        )


def refused_change(run: Path, config: RunConfig) -> tuple[str, Any, Any] | None:
    """The first setting that contradicts a run's past: dotted key, value then, value now; None if none does.

    A 2D run that was moved is still the same one.
    """
    before, now = (flat(each.model_dump(mode="json")) for each in (load_config(run), config))
    for key, value in now.items():
        if value == before[key] or key.startswith(MAY_CHANGE):
            continue
        if key != "start.twin" or not _was_moved(value, run):
            return key, before[key], value
    return None


def _was_moved(twin: str, run: Path) -> bool:
    """Whether this folder holds the 2D run that a run started from, by its data and its weights."""
    started = read_facts(run).get("started_from") or {}
    try:
        if not started or TrainedOn.of_run(Path(twin)).content != started["data"]:
            return False
        snapshot = load_snapshot(snapshot_path(Path(twin), started["n_images"]))
    except VoxflateError:
        return False
    return bool(weights_sha256(snapshot["ema"]) == started["weights_sha256"])
