"""Predicts memory and time of a training on this machine, from a small measurement.

All stages have the same channels, so both grow with the number of voxels in a batch. One shape is measured;
`python -m benchmarks.plan_check` compares the prediction with measurements at others (docs/data.md).
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from math import prod

import torch

from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values

_BASE, _STAGES = (2, 4, 4), 4
_BYTES = 2**30
_ROUNDS = 5


@dataclass(frozen=True)
class Machine:
    """The cost of a training step on this machine.

    Attributes:
        device: The measured device.
        seconds_per_voxel: Time per voxel of an image, seconds, with R1's share.
        gib_per_voxel: Peak memory per voxel of a batch, GiB.
        gib_at_rest: Memory before a step, GiB.
    """

    device: str
    seconds_per_voxel: float
    gib_per_voxel: float
    gib_at_rest: float

    def images_per_second(self, shape: tuple[int, int, int]) -> float:
        """Predicted speed of 3D training."""
        return 1 / (self.seconds_per_voxel * prod(shape))

    def gib(self, shape: tuple[int, int, int], batch: int) -> float:
        """Predicted peak memory of 3D training, GiB."""
        return self.gib_at_rest + self.gib_per_voxel * prod(shape) * batch


def measure_machine(config: RunConfig, rounds: int = _ROUNDS) -> Machine:
    """Measure the cost of a step with a run's settings, at 16x32x32; takes a few seconds.

    Args:
        config: The settings.
        rounds: Number of steps with and without R1; one is enough for the memory.
    """
    values = {"network.base": list(_BASE), "network.stages": _STAGES}
    return measure_shape(with_values(config, values), rounds)


def measure_shape(config: RunConfig, rounds: int = _ROUNDS) -> Machine:
    """Train some steps on noise with a run's settings, at its shape; the fastest of each kind counts.

    Other load on the machine slows down single steps, so the fastest time is the most reproducible. Call it
    before other large work of the process, because the system reports only the peak memory.
    """
    gan = build_gan(config, build_run_networks(config))
    batch, shape = config.training.batch, config.network.shape
    reals = torch.rand(batch, config.network.image_channels, *shape, device=gan.device) * 2 - 1
    at_rest = _peak_gib(gan.device)
    times: dict[int, list[float]] = {0: [], 1: []}
    for number in (0, 1) * rounds:  # the first of each kind allocates the buffers
        started = time.perf_counter()
        gan.step(reals, None, number=number)
        if gan.device.type == "cuda":
            torch.cuda.synchronize()
        times[number].append(time.perf_counter() - started)
    penalised, plain = (min(each[1:] or each) for each in (times[0], times[1]))
    every = config.training.r1_every
    seconds = plain + max(0.0, penalised - plain) / every
    voxels = batch * prod(shape)
    return Machine(str(gan.device), seconds / voxels, (_peak_gib(gan.device) - at_rest) / voxels, at_rest)


def _peak_gib(device: torch.device) -> float:
    """Peak memory of this process so far, GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _BYTES
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _BYTES if sys.platform == "darwin" else peak * 1024 / _BYTES  # kilobytes elsewhere
