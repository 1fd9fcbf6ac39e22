"""The message of a run that runs out of memory: relevant settings, and the predicted memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import torch

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate.config.schema import DEFAULT_MODEL, RunConfig
from voxflate.config.toml import from_dict, with_values
from voxflate.training.planner import Machine, images_at_once, measure_machine, micro_batches, predict

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
    if config.model == DEFAULT_MODEL and not training.activation_checkpointing:
        steps.append("--set training.activation_checkpointing=true")
    smaller = micro_batches(config)
    half = [size for size in smaller if 2 * size <= images_at_once(config)]
    steps += [f"--set training.micro_batch={size}" for size in (half[:1] or smaller[-1:])]
    steps.append("a smaller training.batch" if training.batch > 1 else "a smaller network.channels")
    return f"try {', '.join(steps)}, or a smaller shape (voxflate prepare --plan)"


def predicted_gib(config: RunConfig) -> float | None:
    """Peak memory predicted by the planner, GiB; None for a 2D run, or if it cannot be measured."""
    machine = measured_elsewhere(config) if config.training.phase == "3d" else None
    return None if machine is None else predict(config, machine)[0]


def checkpointed_machine(config: RunConfig) -> Machine | None:
    """The cost with activation checkpointing; None if it is on, does not exist or cannot be measured."""
    if config.model != DEFAULT_MODEL or config.training.activation_checkpointing:
        return None
    return measured_elsewhere(with_values(config, {"training.activation_checkpointing": True}))


def measured_elsewhere(config: RunConfig) -> Machine | None:
    """The memory that a run needs, measured in another process; None if it cannot be measured.

    The system reports only the peak of a process, and ours has passed it.
    """
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
        return Machine(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def measure() -> None:
    """Read settings as JSON and print the `Machine` as JSON; run in the other process."""
    keep_freed_memory()  # as the command line does, which needs more memory
    config = from_dict(json.loads(sys.stdin.read()), "settings")
    try:
        print(json.dumps(asdict(measure_machine(config, rounds=1))))
    except (RuntimeError, MemoryError, VoxflateError):
        sys.exit(1)
