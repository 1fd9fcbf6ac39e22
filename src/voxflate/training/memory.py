"""The message of a training that runs out of memory: relevant settings, and the predicted memory."""

from __future__ import annotations

import json
import subprocess
import sys

import torch

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_dict

SECONDS = 120
"""Seconds after which the prediction is given up."""


def advice(config: RunConfig) -> str:
    """How to train with less memory, with the current settings and the predicted memory."""
    training = config.training
    size = "x".join(map(str, config.network.shape if training.phase == "3d" else config.network.shape[1:]))
    checkpointing = str(training.activation_checkpointing).lower()
    gib = predicted_gib(config)
    predicted = "" if gib is None else f", for which the plan predicts {gib:.1f} GiB"
    return (
        f"training on {size} voxels with training.batch = {training.batch}, training.micro_batch = "
        f"{training.micro_batch}, training.activation_checkpointing = {checkpointing}{predicted}; "
        f"{_next_step(config)}"
    )


def _next_step(config: RunConfig) -> str:
    training = config.training
    steps = []
    if not training.activation_checkpointing:
        steps.append("--set training.activation_checkpointing=true")
    smaller = (training.micro_batch or training.batch) // 2
    if smaller:
        steps.append(f"--set training.micro_batch={smaller}")
    steps.append("a smaller training.batch" if training.batch > 1 else "a smaller network.channels")
    return f"try {', '.join(steps)}, or a smaller shape (voxflate prepare --plan)"


def predicted_gib(config: RunConfig) -> float | None:
    """Peak memory predicted by the planner, GiB; None for a 2D run, or if it cannot be measured.

    It is measured in another process: the system reports only a process's peak, and ours has passed it.
    """
    if config.training.phase != "3d":
        return None
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    command = [sys.executable, "-c", "from voxflate.training.memory import measure; measure()"]
    try:
        done = subprocess.run(
            command,
            input=config.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def measure() -> None:
    """Read settings as JSON and print the prediction; run in the other process."""
    from voxflate.training.planner import measure_machine, predict

    config = from_dict(json.loads(sys.stdin.read()), "settings")
    try:
        print(predict(config, measure_machine(config, rounds=1))[0])
    except (RuntimeError, MemoryError, VoxflateError):
        sys.exit(1)
