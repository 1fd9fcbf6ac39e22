"""Images a second of a training step on this machine, for the architectures and shapes that matter here.

    python -m benchmarks.step [--seconds 5]

Every case runs in turn for the given time or 16 steps, three rounds; the median is printed. It takes
minutes on two cores. Fresh weights and random
images, so no data is needed. R1 is included as often as in a training.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track

from voxflate.allocator import keep_freed_memory
from voxflate.build import build_gan, build_run_networks
from voxflate.config import RunConfig
from voxflate.configfile import with_values
from voxflate.gans.gan import Gan

ROUNDS = 3


class Case(NamedTuple):
    """What is timed."""

    architecture: str
    phase: str
    stages: int
    batch: int


CASES = [
    Case("baseline", "2d", 4, 8),
    Case("split-shuffle", "2d", 4, 8),
    Case("baseline", "3d", 4, 8),
    Case("split-shuffle", "3d", 4, 8),
    Case("split-shuffle", "3d", 5, 4),
]


def main() -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each case and round")
    seconds = parser.parse_args().seconds
    keep_freed_memory()
    speeds: dict[Case, list[float]] = {case: [] for case in CASES}
    for case in track(CASES * ROUNDS, "timing steps", console=Console(stderr=True)):
        speeds[case].append(images_per_second(case, seconds))
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    for case, values in speeds.items():
        config = settings(case)
        size = config.network.shape if case.phase == "3d" else config.network.shape[1:]
        shape = "x".join(map(str, size))
        print(
            f"{case.architecture:14} {shape:>9} batch {case.batch}: {statistics.median(values):7.1f} images/s"
        )


def settings(case: Case) -> RunConfig:
    """The run a case stands for."""
    return with_values(
        RunConfig(),
        {
            "network.architecture": case.architecture,
            "network.stages": case.stages,
            "training.phase": case.phase,
            "training.batch": case.batch,
        },
    )


def images_per_second(case: Case, seconds: float) -> float:
    """Train on noise for about this long, after one warm-up step of each kind."""
    config = settings(case)
    gan = build_gan(config, build_run_networks(config))
    shape = config.network.shape if case.phase == "3d" else config.network.shape[1:]
    reals = torch.rand(case.batch, 1, *shape, device=gan.device) * 2 - 1
    run_steps(gan, reals, 2)
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        run_steps(gan, reals, config.training.r1_every)
        steps += config.training.r1_every
    return steps * case.batch / (time.perf_counter() - start)


def run_steps(gan: Gan, reals: torch.Tensor, count: int) -> None:
    """Do `count` steps; the first has the R1 penalty."""
    for number in range(count):
        gan.step(reals, None, number=number)
    if reals.device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
