"""Checks the predictions of `prepare --plan`: larger shapes measured, against scaled from 16x32x32.

    python -m benchmarks.plan_check [--threads 2]

Every shape runs in a separate process, because the system reports only the peak memory.
"""

from __future__ import annotations

import multiprocessing

import torch
from benchmarks.arguments import parser_of

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.cores import available_cores
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.training.planner import Machine, measure_machine, measure_shape

CASES = {"32x64x64": ((2, 4, 4), 5, 2), "48x48x48": ((3, 3, 3), 5, 2), "64x64x64": ((4, 4, 4), 5, 1)}
"""Shape -> base, stages, batch."""


def measure(base: tuple[int, int, int] | None, stages: int, batch: int, threads: int) -> Machine:
    """One measurement; at the plan's shape if base is None."""
    keep_freed_memory()  # as the command line does
    torch.set_num_threads(threads)
    if base is None:
        return measure_machine(RunConfig())
    values = {"network.base": list(base), "network.stages": stages, "training.batch": batch}
    config = with_values(RunConfig(), {**values, "training.mbstd_group": batch})
    return measure_shape(config)


def main() -> None:
    """Print one line per shape."""
    parser = parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=available_cores())
    threads = parser.parse_args().threads
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        machine = pool.apply(measure, (None, 0, 0, threads))
        for name, (base, stages, batch) in CASES.items():
            found = pool.apply(measure, (base, stages, batch, threads))
            depth, height, width = (side * 2 ** (stages - 1) for side in base)
            shape = (depth, height, width)
            print(
                f"{name}, batch {batch}: {found.images_per_second(shape):.3f} images/s, predicted "
                f"{machine.images_per_second(shape):.3f}; {found.gib(shape, batch):.2f} GiB, predicted "
                f"{machine.gib(shape, batch):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
