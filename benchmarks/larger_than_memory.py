"""Trains on a set that fits in memory and on one that does not, and compares the images per second.

    python -m benchmarks.larger_than_memory [--gib 3] [--limit-gib 1.5] [--seconds 20]

Both run in a process whose memory, including page cache, is limited by a control group; that needs root on
Linux. The large set is written to a scratch folder, and its pages are dropped from the cache before each run.
Besides training (default network, 16x32x32, batch 8), the stream of batches is timed without training, to
show the maximum speed of the data side.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from benchmarks.arguments import parser_of

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate.config.build import build_gan, build_run_networks
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.data.datasets import VolumeSampler

SHAPE = (16, 32, 32)
BATCH = 8
FITS_GIB = 0.0625
_V1, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


class MemoryLimit:
    """A control group with a limit, v1 or v2, removed at the end.

    Args:
        limit: Bytes, including page cache.

    Raises:
        VoxflateError: If memory cannot be limited here.
    """

    def __init__(self, limit: int) -> None:
        v1 = (_V1 / "memory.limit_in_bytes").exists()
        self._folder = (_V1 if v1 else _V2) / f"voxflate-{os.getpid()}"
        try:
            self._folder.mkdir()
            (self._folder / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
        except OSError as error:
            raise VoxflateError(
                f"memory cannot be limited here ({error}); run it as root on Linux"
            ) from error

    def take(self, process: int) -> None:
        """Add a process."""
        (self._folder / "cgroup.procs").write_text(str(process))

    def remove(self) -> None:
        """Remove the group after its processes have ended."""
        self._folder.rmdir()


def write_set(path: Path, gib: float, shape: tuple[int, int, int] = SHAPE) -> None:
    """Write random volumes as one array file, and drop it from the page cache."""
    count = max(1, int(gib * 2**30 / (2 * np.prod(shape))))
    array = np.lib.format.open_memmap(path, "w+", np.int16, (count, *shape))
    size = min(count, 2048)
    block = np.random.default_rng(0).integers(-32767, 32768, (size, *shape)).astype(np.int16)
    for start in range(0, count, len(block)):
        array[start : start + len(block)] = block[: count - start]
    array.flush()
    del array
    drop(path)


def drop(path: Path) -> None:
    """Drop a file from the page cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: Path, seconds: float, threads: int, pipe: Connection) -> None:
    """Send the images per second of the stream alone and of training; waits for admission first."""
    torch.set_num_threads(threads)
    pipe.recv()
    sampler = VolumeSampler(np.load(path, mmap_mode="r")[:, None], seed=0)
    shown, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds / 2:
        sampler.batch(shown, BATCH)
        shown += BATCH
    stream = shown / (time.perf_counter() - started)
    keep_freed_memory()
    config = with_values(RunConfig(), {"slice_discriminator.weight": 0})
    gan = build_gan(config, build_run_networks(config))
    for number in (0, 1):
        gan.step(torch.from_numpy(sampler.batch(shown, BATCH)), None, number=number)
        shown += BATCH
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        gan.step(torch.from_numpy(sampler.batch(shown, BATCH)), None, number=1)
        shown, steps = shown + BATCH, steps + 1
    pipe.send((stream, steps * BATCH / (time.perf_counter() - started)))


def main() -> None:
    """Print one line per set, twice, in turn."""
    parser = parser_of(__doc__)
    parser.add_argument("--gib", type=float, default=3.0, help="size of the large set")
    parser.add_argument("--limit-gib", type=float, default=1.5, help="memory of the process")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds of training per line")
    parser.add_argument("--threads", type=int, default=available_cores(), help="threads of the training")
    arguments = parser.parse_args()
    try:
        limit = MemoryLimit(int(arguments.limit_gib * 2**30))
    except VoxflateError as error:
        sys.exit(f"larger_than_memory: {error}")
    context = multiprocessing.get_context("spawn")
    try:
        with tempfile.TemporaryDirectory(prefix="voxflate-") as folder:
            sets = {gib: Path(folder) / f"{gib}.npy" for gib in (FITS_GIB, arguments.gib)}
            for gib, path in sets.items():
                write_set(path, gib)
            for gib, path in list(sets.items()) * 2:
                drop(path)
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=measure, args=(path, arguments.seconds, arguments.threads, theirs)
                )
                process.start()
                limit.take(process.pid or 0)
                ours.send("in")
                stream, training = ours.recv()
                process.join()
                print(
                    f"{gib:7.3f} GiB under {arguments.limit_gib:g} GiB: training {training:6.2f} images/s, "
                    f"stream alone {stream:8.0f} images/s",
                    flush=True,
                )
    finally:
        limit.remove()


if __name__ == "__main__":
    main()
