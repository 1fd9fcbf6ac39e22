"""Time and memory of the whole evaluation suite, without a generator: samples are made from real volumes.

    python -m benchmarks.suite PREPARED [--samples 1000] [--threads 1]

Prints the seconds of each stage and the peak memory; equal peaks for two values of --samples show that
volumes are not kept.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from benchmarks.arguments import parser_of
from numpy.typing import NDArray

from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.evaluation import Suite

_BATCH = 8


def samples(prepared: PreparedSet, count: int) -> Iterator[NDArray[np.float32]]:
    """Averages of two random training volumes with a little noise."""
    rng = np.random.default_rng(0)
    n_train = len(prepared.stored("train"))
    for start in range(0, count, _BATCH):
        chosen = rng.integers(n_train, size=(2, min(_BATCH, count - start)))
        first, second = (prepared.volumes("train", numbers) for numbers in chosen)
        noise = rng.normal(0, 0.01, first.shape).astype(np.float32)
        yield np.clip((first + second) / 2 + noise, -1, 1)


def main() -> None:
    """Run the suite once, with an empty cache."""
    parser = parser_of(__doc__)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prepared = open_prepared(arguments.prepared)
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        assessment = Suite(prepared, cache=Path(cache)).volumes(samples(prepared, arguments.samples))
        seconds = time.perf_counter() - started
        used = time.process_time()
    for stage, taken in assessment.seconds.items():
        print(f"{stage:20} {taken:8.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'all':20} {seconds:8.1f} s, of it {used:.1f} s on a core; {arguments.samples} samples")
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
