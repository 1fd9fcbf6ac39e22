"""Time of a training step on this machine, as ratios: compiled kernels, plain PyTorch, the straight lift.

    python -m benchmarks.step [--rounds 5] [--precision fp32 bf16] [--out docs/benchmarks/step.json]
    python -m benchmarks.step --table docs/benchmarks/step.json    # Markdown of what was measured before

For every architecture and shape the variants take turns, round after round, so that other load affects all of
them; medians are kept. "straight" is `benchmarks.straight`, in float32 regardless of the row's
precision; "straight, untuned" is the same in a process with the default allocator. "convolutions alone"
runs only the convolutions of the steps of G and D (forward, data and weight gradients, as often as
needed), in the precision in which each of them ran: no step with these convolutions can be faster. "memory
alone" is the time in which the machine copies as many bytes as the convolutions and the passes between them
read and write.
Weights are fresh and images random, so no data is needed. images/s counts R1 as often as in a training;
R1 is in the row's precision, as in a training. Without --precision: float32, and bfloat16 if the processor
has instructions for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from benchmarks.arguments import add_outputs, parser_of
from benchmarks.convolutions import Call, bytes_moved, bytes_per_second, recorded, seconds_alone
from benchmarks.straight import StraightDiscriminator, StraightGenerator
from benchmarks.timing import PRECISIONS, machine, markdown, take_turns, usual_precisions
from rich.console import Console
from rich.progress import track

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.gans import GANS
from voxflate.gans.gan import Gan, Shown, Step
from voxflate.nn import Generator
from voxflate.nn.run_stage import use_kernels

VARIANTS = ("compiled", "plain", "straight")
ALONE = "convolutions alone"
MEMORY = "memory alone"
BOUNDS = {ALONE: "convolutions' share", MEMORY: "memory's share"}
"""What bounds a step -> the heading of its share: its time alone against that of the compiled step."""
UNTUNED = "straight, untuned"


class Case(NamedTuple):
    """A timed case: the networks, the number of images per step, the convolutions' precision."""

    architecture: str
    phase: str
    base: tuple[int, int, int]
    stages: int
    batch: int
    precision: str = "fp32"
    channels: int = 32

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of an image or a volume, voxels."""
        sides = tuple(n * 2 ** (self.stages - 1) for n in self.base)
        return sides[1:] if self.phase == "2d" else sides

    @property
    def name(self) -> str:
        """Like "split-shuffle 16x32x32 batch 8 bf16"."""
        sides = "x".join(map(str, self.shape))
        return f"{self.architecture} {sides} batch {self.batch} {self.precision}"


FLAT, CUBE = (2, 4, 4), (4, 4, 4)
CASES = [
    Case("baseline", "2d", FLAT, 5, 16),
    Case("baseline", "3d", FLAT, 4, 8),
    Case("split-shuffle", "3d", FLAT, 4, 8),
    Case("baseline", "3d", FLAT, 5, 4),
    Case("split-shuffle", "3d", FLAT, 5, 4),
    Case("baseline", "3d", CUBE, 5, 2),
    Case("split-shuffle", "3d", CUBE, 5, 2),
]


def main() -> None:
    """Time all cases, print a table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=usual_precisions())
    add_outputs(parser)
    parser.add_argument("--cases", type=int, nargs="+", choices=range(len(CASES)), default=range(len(CASES)))
    parser.add_argument("--only-straight", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    if options.only_straight:  # the untuned process
        print(json.dumps([straight_alone(CASES[index], options.rounds) for index in options.cases]))
        return
    keep_freed_memory()
    try:
        run(options)
    except VoxflateError as error:
        sys.exit(f"step: {error}")


def run(options: argparse.Namespace) -> None:
    """Time the cases one after the other; print each, and rewrite the file after each."""
    facts = machine()
    results: dict[str, Any] = {}
    for index in track(options.cases, "timing steps", console=Console(stderr=True)):
        found = compare(CASES[index], options.precision, options.rounds)
        slow = untuned(index, options.rounds)
        for name, result in found.items():
            result[UNTUNED] = slow
            print_case(name, result)
        results |= found
        if options.out:  # after every case: a whole run takes long
            write_json(options.out, {"machine": facts | {"rounds": options.rounds}, "cases": results})


def table(content: Mapping[str, Any]) -> str:
    """Markdown: images/s of every variant, its ratio to the straight lift, the shares of both bounds."""
    known = next(iter(content["cases"].values()))
    bounds = [bound for bound in BOUNDS if bound in known]  # earlier files have one
    names = [*VARIANTS, UNTUNED, *bounds]
    rows = []
    for case, result in content["cases"].items():
        speeds = [result[name]["images_per_s"] for name in names]
        straight = result["straight"]["images_per_s"]
        cells = [f"{speed:.2f} ({speed / straight:.2f})" for speed in speeds]
        shares = [f"{speeds[0] / speeds[names.index(bound)]:.0%}" for bound in bounds]
        rows.append([case, *cells, *shares])
    return markdown(["images/s (straight = 1)", *names, *(BOUNDS[bound] for bound in bounds)], rows)


def settings(case: Case, values: Mapping[str, Any] | None = None) -> RunConfig:
    """The settings of a case; `values` are other settings by dotted key."""
    return with_values(
        RunConfig(),
        {
            "network.architecture": case.architecture,
            "network.base": case.base,
            "network.stages": case.stages,
            "network.channels": case.channels,
            "network.mapping_layers": 8,  # as in the paper, like the next three
            "network.low_pass_d": True,
            "slice_discriminator.weight": 0.0,
            "training.reuse_fakes": False,
            "training.phase": case.phase,
            "training.batch": case.batch,
            "training.precision": case.precision,
            "training.device": "cpu",
            **(values or {}),
        },
    )


def gan_of(case: Case, variant: str, values: Mapping[str, Any] | None = None) -> Gan:
    """The same networks, in the variant's formulation."""
    config = settings(case, values)
    torch.manual_seed(0)
    gan = build_gan(config, build_run_networks(config))
    if variant != "straight":
        return gan
    straight = {
        "generator": StraightGenerator(gan.generator),  # type: ignore[arg-type]
        "discriminator": StraightDiscriminator(gan.discriminator),  # type: ignore[arg-type]
    }
    return Gan(GANS["stylegan2"], straight, gan.settings)


def build_generator(case: Case) -> Generator:
    """Only the generator."""
    torch.manual_seed(0)
    generator = build_run_networks(settings(case))["generator"]
    assert isinstance(generator, Generator)
    return generator


def images(case: Case) -> Shown:
    """A random batch."""
    return Shown(torch.rand(case.batch, 1, *case.shape) * 2 - 1)


def compare(case: Case, precisions: Sequence[str], rounds: int) -> dict[str, Any]:
    """All variants except the untuned one, by the name of the case in each precision."""
    exact = case._replace(precision="fp32")
    variants = {
        (variant, precision): (case._replace(precision=precision), variant)
        for precision in precisions
        for variant in VARIANTS
        if variant != "straight"
    }
    measured = measure({("straight", "fp32"): (exact, "straight"), **variants}, rounds)
    results = {}
    for precision in precisions:
        own = case._replace(precision=precision)
        results[own.name] = {
            "compiled": measured["compiled", precision],
            "plain": measured["plain", precision],
            "straight": measured["straight", "fp32"],
            **{name: {"images_per_s": case.batch / each} for name, each in bounds(own, rounds).items()},
        }
    return results


def measure(entries: Mapping[Any, tuple[Case, str]], rounds: int) -> dict[Any, dict[str, Any]]:
    """Median seconds of every kind of step, and images per second, of variants that take turns."""
    gans = {key: gan_of(case, variant) for key, (case, variant) in entries.items()}
    calls: dict[tuple[Any, str], Callable[[], object]] = {}
    for key, (case, variant) in entries.items():
        shown = images(case)
        for step in gans[key].steps:
            calls[key, step.name] = _call(
                gans[key], step, shown, "auto" if variant == "compiled" else "plain"
            )
    medians = take_turns(calls, rounds)
    use_kernels("auto")
    results = {}
    for key, (case, _) in entries.items():
        total = sum(medians[key, step.name] / step.every for step in gans[key].steps)
        seconds = {step.name: medians[key, step.name] for step in gans[key].steps}
        results[key] = {"seconds": seconds, "images_per_s": case.batch / total}
    return results


def _call(gan: Gan, step: Step, shown: Shown, kernels: str) -> Callable[[], object]:
    """A step to time."""

    def call() -> object:
        use_kernels(kernels)
        return gan.take(step, shown)

    return call


def straight_alone(case: Case, rounds: int) -> dict[str, Any]:
    """Time only the straight lift."""
    return measure({"straight": (case, "straight")}, rounds)["straight"]


def untuned(index: int, rounds: int) -> dict[str, Any]:
    """The straight lift in a process with the C library's default allocator.

    Raises:
        VoxflateError: If the process failed or was killed.
    """
    command = [sys.executable, "-m", "benchmarks.step", "--only-straight"]
    command += ["--rounds", str(max(1, rounds // 2)), "--cases", str(index)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        lines = answer.stderr.strip().splitlines() or ["no message"]
        raise VoxflateError(f"{CASES[index].name}, {UNTUNED}: ended with {answer.returncode}: {lines[-1]}")
    result: dict[str, Any] = json.loads(answer.stdout)[0]
    return result


def convolutions(case: Case) -> Counter[Call]:
    """The convolutions of a G and a D step."""
    gan, shown = gan_of(case, "compiled"), images(case)
    calls: Counter[Call] = Counter()
    with recorded(calls):
        for step in gan.steps:
            if step.every == 1:
                gan.take(step, shown)
    return calls


def bounds(case: Case, rounds: int) -> dict[str, float]:
    """Seconds that a G and a D step need for their convolutions alone, and for moving their features."""
    calls = convolutions(case)
    return {ALONE: seconds_alone(calls, rounds), MEMORY: bytes_moved(calls) / bytes_per_second(rounds)}


def print_case(name: str, result: dict[str, Any]) -> None:
    """One block of lines."""
    print(name)
    reference = result["straight"]["images_per_s"]
    for variant, values in result.items():
        speed = values["images_per_s"]
        parts = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in values.get("seconds", {}).items())
        print(f"  {variant:20} {speed:8.2f} images/s  {speed / reference:5.2f}x  {parts}")
    for bound, heading in BOUNDS.items():
        share = result["compiled"]["images_per_s"] / result[bound]["images_per_s"]
        print(f"  {heading} of the compiled step: {share:.0%}", flush=True)


if __name__ == "__main__":
    main()
