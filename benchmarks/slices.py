"""The cost of the slice discriminator in a training step, as a ratio.

    python -m benchmarks.slices [--rounds 8] [--threads 1] [--sides 64 128] [--numbers 1 3] [--out FILE.json]

The recommended 3D training with reused fakes, with and without slices, by the side of a slice in pixels and
the number of slices per volume: all take turns, with fresh weights, random images and the recommended
batch. R1, due every 16th batch, is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import torch
from benchmarks.arguments import parser_of
from benchmarks.timing import machine, markdown, take_turns

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.files import write_json
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values
from voxflate.nn.run_stage import use_kernels

SHAPES = {"16x32x32": 4, "32x64x64": 5}


def step_of(config: RunConfig) -> Callable[[], object]:
    """A step of a training with these settings."""
    torch.manual_seed(0)
    gan = build_gan(config, build_run_networks(config))
    reals = torch.rand(config.training.batch, 1, *config.network.shape) * 2 - 1
    return lambda: gan.step(reals, None, number=1)


def main() -> None:
    """Time all shapes, print a table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--numbers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    use_kernels("auto")
    rows, found = [], {}
    for shape in options.shapes:
        shared = {
            "start.strategy": "preserving",
            "network.stages": SHAPES[shape],
            "training.reuse_fakes": True,
            "slice_discriminator.weight": 0.0,
        }
        base = from_values(shared, "benchmark")
        steps = {"without": step_of(base)}
        for number, side in product(options.numbers, options.sides):
            sliced = {
                "slice_discriminator.weight": 1.0,
                "slice_discriminator.per_volume": number,
                "slice_discriminator.side": side,
            }
            steps[f"{number} of side {side}"] = step_of(from_values(shared | sliced, "benchmark"))
        seconds = take_turns(steps, options.rounds)
        batch = base.training.batch
        found[shape] = {"seconds": seconds, "batch": batch}
        ratios = [f"{seconds[name] / seconds['without']:.2f}" for name in steps]
        rows.append([shape, f"{seconds['without'] / batch * 1000:.0f} ms", *ratios[1:]])
        print(rows[-1], flush=True)
    print(markdown(["shape", "without, per image", *list(steps)[1:]], rows))
    if options.out:
        write_json(options.out, {"machine": machine(), "cases": found})


if __name__ == "__main__":
    main()
