"""What training a shape would take on this machine: memory and speed, measured small and scaled up.

All stages have the same channels, so both grow with the voxels of a batch. What is measured is one shape;
`python -m benchmarks.plan_check` compares others with what this predicts (docs/data.md).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from math import prod

import torch

from voxflate._system.allocator import keep_freed_memory
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values

_BASE, _STAGES = (2, 4, 4), 4
_BYTES = 2**30
_ROUNDS = 5


@dataclass(frozen=True)
class Machine:
    """What a training step costs here.

    Attributes:
        device: Where it was measured.
        seconds_per_voxel: Of an image, R1 in its share included.
        gib_per_voxel: Peak memory for every voxel of a batch, GiB; NaN where the system does not tell.
        gib_at_rest: Memory before a step, GiB; NaN likewise.
    """

    device: str
    seconds_per_voxel: float
    gib_per_voxel: float
    gib_at_rest: float

    def images_per_second(self, shape: tuple[int, int, int]) -> float:
        """Expected speed of 3D training."""
        return 1 / (self.seconds_per_voxel * prod(shape))

    def gib(self, shape: tuple[int, int, int], batch: int) -> float:
        """Expected peak memory of 3D training."""
        return self.gib_at_rest + self.gib_per_voxel * prod(shape) * batch


def measure_machine(config: RunConfig) -> Machine:
    """What a step costs with a run's settings, measured at 16x32x32 in some seconds."""
    return measure_shape(with_values(config, {"network.base": list(_BASE), "network.stages": _STAGES}))


def measure_shape(config: RunConfig) -> Machine:
    """Train some steps on noise with a run's settings, at its shape; the fastest of each kind counts.

    What else the machine does slows single steps down, so the fastest is the one that can be told again. It
    must come before other large work of the process: the system tells the highest memory only.
    """
    keep_freed_memory()
    gan = build_gan(config, build_run_networks(config))
    batch, shape = config.training.batch, config.network.shape
    reals = torch.rand(batch, 1, *shape, device=gan.device) * 2 - 1
    at_rest = _peak_gib(gan.device)
    times: dict[int, list[float]] = {0: [], 1: []}
    for number in (0, 1) * _ROUNDS:  # the first of each kind makes its buffers
        started = time.perf_counter()
        gan.step(reals, None, number=number)
        if gan.device.type == "cuda":
            torch.cuda.synchronize()
        times[number].append(time.perf_counter() - started)
    penalised, plain = min(times[0][1:]), min(times[1][1:])
    every = config.training.r1_every
    seconds = plain + max(0.0, penalised - plain) / every
    voxels = batch * prod(shape)
    return Machine(str(gan.device), seconds / voxels, (_peak_gib(gan.device) - at_rest) / voxels, at_rest)


def _peak_gib(device: torch.device) -> float:
    """The most memory that was in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _BYTES
    if sys.platform == "win32":
        return float("nan")
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 2**20 if sys.platform == "linux" else kilobytes / _BYTES
