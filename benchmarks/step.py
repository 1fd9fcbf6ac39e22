"""Images a second of a training step on this machine, with compiled kernels and with plain PyTorch.

    python -m benchmarks.step [--seconds 5]

Every case runs in turn for the given time or 16 steps, with either kind of kernels, three rounds; medians and
their ratio are printed. It takes minutes on two cores. Fresh weights and random images, so no data is needed.
R1 is included as often as in a training.
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
from voxflate.nn.compiled import MODES, kernels_in_use, use_kernels

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
    turns = [(case, mode) for _ in range(ROUNDS) for case in CASES for mode in MODES]
    speeds: dict[tuple[Case, str], list[float]] = {turn: [] for turn in turns}
    for case, mode in track(turns, "timing steps", console=Console(stderr=True)):
        use_kernels(mode)
        speeds[case, mode].append(images_per_second(case, seconds))
    use_kernels("auto")
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, kernels: {kernels_in_use()}")
    for case in CASES:
        quick, plain = (statistics.median(speeds[case, mode]) for mode in MODES)
        config = settings(case)
        size = config.network.shape if case.phase == "3d" else config.network.shape[1:]
        shape = "x".join(map(str, size))
        print(
            f"{case.architecture:14} {shape:>9} batch {case.batch}: {quick:7.2f} images/s, "
            f"plain {plain:7.2f}, ratio {quick / plain:.2f}"
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
