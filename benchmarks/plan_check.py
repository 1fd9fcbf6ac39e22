"""Checks the planner's predictions (`prepare --plan`, `train --plan`) against measurements at larger shapes.

    python -m benchmarks.plan_check [--cases 32x64x64 64x64x64-checkpointed] [--threads 2] [--rounds 5]
    python -m benchmarks.plan_check --table docs/benchmarks/plan_check.json    # Markdown

Without --cases, those up to 64x64x64, which take minutes. Every case, and every small measurement that
predicts it, runs in a separate process, because the system reports only the peak memory. The cases of
128x128 voxels take minutes per step on two cores: use `--rounds 2`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any

import torch
from benchmarks.arguments import add_outputs, parser_of
from benchmarks.timing import machine, markdown

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.cores import available_cores
from voxflate._system.files import read_json, write_json
from voxflate.config.schema import RunConfig
from voxflate.config.toml import from_values
from voxflate.training.planner import MARGIN, Machine, Measured, measure_machine, measure_shape, predict

MEMORY, SPEED = MARGIN, 0.25
"""The largest errors that the aims allow, relative to the measurement."""

_CHECKPOINTED = {"training.activation_checkpointing": True}
_IN_PARTS = {**_CHECKPOINTED, "training.batch": 4, "training.mbstd_group": 4}
_32X64X64 = {"network.base": [2, 4, 4], "network.stages": 5}
_64X64X64 = {"network.base": [4, 4, 4], "network.stages": 5}
_96X96X96 = {"network.base": [3, 3, 3], "network.stages": 6}
CASES: dict[str, dict[str, Any]] = {
    "32x64x64": _32X64X64,
    "64x64x64": _64X64X64,
    "64x64x64-checkpointed": {**_64X64X64, **_CHECKPOINTED},
    "96x96x96": _96X96X96,
    "96x96x96-checkpointed": {**_96X96X96, **_CHECKPOINTED},
    "32x64x64-batch-2": {**_32X64X64, "training.batch": 2, "training.mbstd_group": 2},
    "64x64x64-batch-1": {**_64X64X64, "training.batch": 1, "training.mbstd_group": 1},
    # One micro-batch of 4 is measured: the others repeat it.
    "32x128x128": {"preset": "coca128-split-shuffle-inflate-1", **_IN_PARTS},
    "128x128x128": {"network.base": [4, 4, 4], "network.stages": 6, **_IN_PARTS},
}
"""Settings by name, which begins with the shape; all others are those recommended for the shape."""


QUICK = [name for name in CASES if not name.startswith(("96", "128")) and "x128" not in name]
"""Measured by default."""


def settings(name: str) -> RunConfig:
    """The settings of a case."""
    return from_values(CASES[name])


def measure(name: str, threads: int, rounds: int, larger: bool) -> Machine | Measured:
    """One measurement: at the shape itself if `larger`, else at the small shapes of the plan."""
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(threads)
    return (measure_shape if larger else measure_machine)(settings(name), rounds)


def compared(name: str, machine: Machine, found: Measured) -> dict[str, Any]:
    """Measurement, prediction and relative error of one case, and whether both aims are met."""
    config = settings(name)
    gib, speed = predict(config, machine)
    memory = {"measured": found.gib, "predicted": gib, "error": gib / found.gib - 1}
    images = {"measured": 1 / found.seconds, "predicted": speed, "error": speed * found.seconds - 1}
    met = abs(memory["error"]) <= MEMORY and abs(images["error"]) <= SPEED
    return {"batch": config.training.batch, "images_per_s": images, "gib": memory, "met": met}


def line(name: str, row: Mapping[str, Any]) -> str:
    """One case as a sentence."""
    speed, memory = row["images_per_s"], row["gib"]
    return (
        f"{name}, batch {row['batch']}: {speed['measured']:.3g} images/s, predicted "
        f"{speed['predicted']:.3g} ({speed['error']:+.0%}); {memory['measured']:.2f} GiB, predicted "
        f"{memory['predicted']:.2f} ({memory['error']:+.0%}): {'met' if row['met'] else 'missed'}"
    )


def table(content: Mapping[str, Any]) -> str:
    """Markdown: measured and predicted, a row per case."""
    heads = ["3D training", "images/s", "predicted", "peak memory, GiB", "predicted", "aims"]
    rows = []
    for name, row in content["cases"].items():
        speed, memory = row["images_per_s"], row["gib"]
        cells = [f"{speed['measured']:.3g}", f"{speed['predicted']:.3g} ({speed['error']:+.0%})"]
        cells += [f"{memory['measured']:.2f}", f"{memory['predicted']:.2f} ({memory['error']:+.0%})"]
        rows.append([f"{name}, batch {row['batch']}", *cells, "met" if row["met"] else "missed"])
    return markdown(heads, rows)


def main() -> None:
    """Print one line per case; write the table's content after each."""
    parser = parser_of(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=QUICK, metavar="NAME")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    add_outputs(parser)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    facts = machine() | {"threads": options.threads, "rounds": options.rounds}
    rows: dict[str, Any] = {}
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        for name in options.cases:
            predicted = pool.apply(measure, (name, options.threads, 3, False))
            found = pool.apply(measure, (name, options.threads, options.rounds, True))
            rows[name] = compared(name, predicted, found)
            print(line(name, rows[name]), flush=True)
            if options.out:
                write_json(options.out, {"machine": facts, "cases": rows})


if __name__ == "__main__":
    main()
