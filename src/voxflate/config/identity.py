"""Finds runs whose settings differ only in the seed: they are seeds of one row."""

from __future__ import annotations

import hashlib
import json

from voxflate.config.values import Values

NOT_OF_THE_ROW = (
    "version",
    "preset",
    "data",
    "start.twin",
    "training.micro_batch",
    "training.activation_checkpointing",
    "training.tf32",
    "training.autotune",
    "training.kernels",
    "training.compile",
    "training.device",
    "training.threads",
    "training.keep",
)
"""Settings in which runs of one row may differ besides the seed: folders, devices, how a step is computed."""


def of_the_row(key: str) -> bool:
    """Whether runs that differ in a setting are of different rows, or are other seeds."""
    return key not in NOT_OF_THE_ROW and not key.startswith("evaluation.")


def setting_key(values: Values, twin: Values | None = None) -> str:
    """Hash the settings without the seed: seeds of one row have the same hash.

    Folders, devices and evaluation settings do not count. Neither does the preset: it is a label.

    Args:
        values: All settings of a run by dotted key, as JSON has them.
        twin: Settings of the 2D run that it started from; its seed does not count either.
    """
    kept = [
        {key: value for key, value in each.items() if of_the_row(key) and key != "training.seed"}
        for each in (values, twin or {})
    ]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
