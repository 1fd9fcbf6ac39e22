"""The cost of more channels and labels in a training step, as a ratio.

    python -m benchmarks.channels [--rounds 8] [--threads 1] [--stages 4] [--out FILE.json]

The recommended 3D training (stages 4: 16x32x32) with one channel, with three, and with three and labels: the
cases take turns, with fresh weights, random images and the recommended batch. R1, due every 16th batch, is
timed separately.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks.arguments import parser_of
from benchmarks.timing import machine, markdown, take_turns

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.files import write_json
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.toml import from_values
from voxflate.nn.run_stage import use_kernels

CASES = {"1 channel": (1, 0), "3 channels": (3, 0), "3 channels, labels": (3, 4)}


def step_of(
    channels: int, label_width: int, stages: int, slices: float, number: int, batch: int
) -> Callable[[], object]:
    """A step of a training with this many channels and numbers in a label vector."""
    torch.manual_seed(0)
    config = from_values(
        {
            "training.batch": batch,
            "network.stages": stages,
            "network.image_channels": channels,
            "network.label_width": label_width,
            "slice_discriminator.weight": slices,
        },
        "benchmark",
    )
    gan = build_gan(config, build_run_networks(config))
    reals = torch.rand(batch, channels, *config.network.shape) * 2 - 1
    labels = torch.randn(batch, label_width) if label_width else None
    return lambda: gan.step(reals, None, labels, number=number)


def main() -> None:
    """Time all cases, print a table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    use_kernels("auto")
    batch = from_values({"network.stages": options.stages}, "benchmark").training.batch
    rows, found = [], {}
    for title, slices, number in (("step", 0.0, 1), ("step with R1", 0.0, 0), ("step with slices", 1.0, 1)):
        steps = {name: step_of(*case, options.stages, slices, number, batch) for name, case in CASES.items()}
        seconds = found[title] = take_turns(steps, options.rounds)
        one = seconds["1 channel"]
        ratios = (f"{seconds[name] / one:.3f}" for name in CASES)
        rows.append([title, f"{one / batch * 1000:.1f} ms", *ratios])
        print(rows[-1], flush=True)
    print(markdown(["", "1 channel, per image", *CASES], rows))
    if options.out:
        write_json(options.out, {"machine": machine(), "batch": batch, "seconds": found})


if __name__ == "__main__":
    main()
