"""A training step's time on this machine, as ratios: compiled kernels, plain PyTorch, the straight lift.

    python -m benchmarks.step [--rounds 5] [--out docs/benchmarks/step.json]
    python -m benchmarks.step --table docs/benchmarks/step.json    # Markdown of what was measured before

For every architecture and shape the variants take their steps in turn, round after round, so that a busy
moment hits all of them; medians are kept. "straight" is `benchmarks.straight`; "straight, untuned" is that
in a process whose allocator is left as it is. "convolutions alone" runs just the convolutions that the step
made (forward, data and weight gradients, as often as the step needs them): no step can be faster with them.
Fresh weights and random images, so no data is needed. images/s counts R1 as often as a training takes it.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.straight import StraightDiscriminator, StraightGenerator
from rich.console import Console
from rich.progress import track

from voxflate.allocator import keep_freed_memory
from voxflate.build import build_gan, build_run_networks
from voxflate.config import RunConfig
from voxflate.configfile import with_values
from voxflate.files import read_json, write_json
from voxflate.gans import GANS
from voxflate.gans.gan import Gan, Shown
from voxflate.nn import functional
from voxflate.nn.compiled import kernels_in_use, use_kernels

VARIANTS = ("compiled", "plain", "straight")
ALONE = "convolutions alone"
UNTUNED = "straight, untuned"


class Case(NamedTuple):
    """What is timed."""

    architecture: str
    phase: str
    base: tuple[int, int, int]
    stages: int
    batch: int

    @property
    def name(self) -> str:
        """Like "split-shuffle 16x32x32 batch 8"."""
        sides = [n * 2 ** (self.stages - 1) for n in self.base][1 if self.phase == "2d" else 0 :]
        return f"{self.architecture} {'x'.join(map(str, sides))} batch {self.batch}"


FLAT, CUBE = (2, 4, 4), (4, 4, 4)
CASES = [
    Case("baseline", "2d", FLAT, 5, 16),
    Case("baseline", "3d", FLAT, 4, 8),
    Case("split-shuffle", "3d", FLAT, 4, 8),
    Case("baseline", "3d", FLAT, 5, 4),
    Case("split-shuffle", "3d", FLAT, 5, 4),
    Case("split-shuffle", "3d", CUBE, 5, 2),
]


def main() -> None:
    """Time all cases, print a table, write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="print a Markdown table of this JSON and measure nothing")
    parser.add_argument("--cases", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--only-straight", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)["cases"]))
        return
    cases = [CASES[index] for index in options.cases]
    if options.only_straight:  # the untuned process
        print(json.dumps([measure(case, ("straight",), options.rounds) for case in cases]))
        return
    keep_freed_memory()
    results = {}
    for index, case in zip(
        options.cases, track(cases, "timing steps", console=Console(stderr=True)), strict=True
    ):
        results[case.name] = measure(case, VARIANTS, options.rounds)
        results[case.name][ALONE] = {"images_per_s": case.batch / convolutions_alone(case, options.rounds)}
        results[case.name][UNTUNED] = untuned(index, options.rounds)
        print_case(case, results[case.name])
    if options.out:
        facts = {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "kernels": kernels_in_use(),
            "processor": platform.processor() or platform.machine(),
            "rounds": options.rounds,
        }
        write_json(options.out, {"machine": facts, "cases": results})


def table(cases: dict[str, Any]) -> str:
    """Markdown: images/s of every variant, its ratio to the straight lift, the convolutions' share."""
    names = (*VARIANTS, UNTUNED, ALONE)
    lines = [f"| images/s (straight = 1) | {' | '.join(names)} | convolutions' share |", "|---" * 7 + "|"]
    for case, result in cases.items():
        speeds = [result[name]["images_per_s"] for name in names]
        straight = result["straight"]["images_per_s"]
        cells = [f"{speed:.2f} ({speed / straight:.2f})" for speed in speeds]
        lines.append(f"| {case} | {' | '.join(cells)} | {speeds[0] / speeds[-1]:.0%} |")
    return "\n".join(lines)


def settings(case: Case) -> RunConfig:
    """The run a case stands for, in float32 whatever the processor could do."""
    return with_values(
        RunConfig(),
        {
            "network.architecture": case.architecture,
            "network.base": case.base,
            "network.stages": case.stages,
            "training.phase": case.phase,
            "training.batch": case.batch,
            "training.precision": "fp32",
        },
    )


def gan_of(case: Case, variant: str) -> Gan:
    """The same networks, in the variant's formulation."""
    config = settings(case)
    torch.manual_seed(0)
    gan = build_gan(config, build_run_networks(config))
    if variant != "straight":
        return gan
    straight = {
        "generator": StraightGenerator(gan.generator),  # type: ignore[arg-type]
        "discriminator": StraightDiscriminator(gan.discriminator),  # type: ignore[arg-type]
    }
    return Gan(GANS["stylegan2"], straight, gan.settings)


def images(case: Case) -> Shown:
    """A random batch."""
    shape = settings(case).network.shape
    return Shown(torch.rand(case.batch, 1, *(shape if case.phase == "3d" else shape[1:])) * 2 - 1)


def measure(case: Case, variants: tuple[str, ...], rounds: int) -> dict[str, Any]:
    """Median seconds of every kind of step, and images a second."""
    gans = {variant: gan_of(case, variant) for variant in variants}
    shown = images(case)
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for variant, gan in gans.items():
            use_kernels("auto" if variant == "compiled" else "plain")
            for step in gan.steps:
                start = time.perf_counter()
                gan.take(step, shown)
                times.setdefault((variant, step.name), []).append(time.perf_counter() - start)
    use_kernels("auto")
    results: dict[str, Any] = {}
    for variant, gan in gans.items():
        medians = {step.name: statistics.median(times[variant, step.name][1:]) for step in gan.steps}
        total = sum(medians[step.name] / step.every for step in gan.steps)
        results[variant] = {"seconds": medians, "images_per_s": case.batch / total}
    return results


def untuned(index: int, rounds: int) -> dict[str, Any]:
    """The straight lift in a process with the allocator of the C library as it comes."""
    command = [sys.executable, "-m", "benchmarks.step", "--only-straight"]
    command += ["--rounds", str(max(1, rounds // 2)), "--cases", str(index)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(answer.stdout)[0]["straight"]
    return result


Call = tuple[tuple[int, ...], tuple[int, ...], str, bool, bool, bool]
"""Sizes of input and kernel, options, transposed, whether input and kernel get gradients."""


@contextmanager
def recorded(calls: Counter[Call]) -> Iterator[None]:
    """Count the convolutions that run inside the block."""
    tables = (functional._CONV, functional._CONV_TRANSPOSE)
    before = [dict(table) for table in tables]

    def counting(run: Callable[..., Any], transposed: bool) -> Callable[..., Any]:
        def wrapper(x: torch.Tensor, kernel: torch.Tensor, **options: Any) -> Any:
            learns = torch.is_grad_enabled()
            key = (tuple(x.shape), tuple(kernel.shape), json.dumps(options), transposed)
            calls[*key, x.requires_grad and learns, kernel.requires_grad and learns] += 1
            return run(x, kernel, **options)

        return wrapper

    for table, transposed in zip(tables, (False, True), strict=True):
        table.update({dims: counting(run, transposed) for dims, run in table.items()})
    try:
        yield
    finally:
        for table, old in zip(tables, before, strict=True):
            table.update(old)


def convolutions_alone(case: Case, rounds: int) -> float:
    """Seconds that the convolutions of a G and a D step take when nothing else runs."""
    gan, shown = gan_of(case, "compiled"), images(case)
    calls: Counter[Call] = Counter()
    with recorded(calls):
        for step in gan.steps:
            if step.every == 1:
                gan.take(step, shown)
    return sum(count * seconds_of(call, rounds) for call, count in calls.items())


def seconds_of(call: Call, rounds: int) -> float:
    """Median time of one convolution, forward and the gradients that it gets."""
    x_size, kernel_size, options, transposed, x_learns, kernel_learns = call
    run = (functional._CONV_TRANSPOSE if transposed else functional._CONV)[len(x_size) - 2]
    x = functional.channels_last(torch.randn(x_size)).requires_grad_(x_learns)
    kernel = torch.randn(kernel_size).requires_grad_(kernel_learns)
    wanted = [tensor for tensor in (x, kernel) if tensor.requires_grad]
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        y = run(x, kernel, **json.loads(options))
        seconds = time.perf_counter() - start
        if wanted:
            grad = torch.ones_like(y)
            start = time.perf_counter()
            torch.autograd.grad(y, wanted, grad)
            seconds += time.perf_counter() - start
        times.append(seconds)
    return statistics.median(times[1:])


def print_case(case: Case, result: dict[str, Any]) -> None:
    """One block of lines."""
    print(case.name)
    reference = result["straight"]["images_per_s"]
    for variant, values in result.items():
        speed = values["images_per_s"]
        parts = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in values.get("seconds", {}).items())
        print(f"  {variant:20} {speed:8.2f} images/s  {speed / reference:5.2f}x  {parts}")
    share = result["compiled"]["images_per_s"] / result[ALONE]["images_per_s"]
    print(f"  convolutions are {share:.0%} of the compiled step", flush=True)


if __name__ == "__main__":
    main()
