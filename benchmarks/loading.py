"""Images per second of the training stream without training, from memory and from disk.

    python -m benchmarks.loading [--gib 3 --limit-gib 1.5] [--out docs/benchmarks/loading.json]
    python -m benchmarks.loading --data PREPARED       # a set of your own, from memory only
    python -m benchmarks.loading --table docs/benchmarks/loading.json    # Markdown

The stream (`build.Stream`) reads stored volumes, shuffles, takes slices in the 2D phase, flips if set and
returns float32 tensors. "in memory": a prepared set of random volumes that fits, read once before. "larger
than memory": a set of --gib, dropped from the page cache, in a process whose memory, including page cache, is
limited to --limit-gib by a control group (root on Linux; elsewhere left out with a message).
`benchmarks.larger_than_memory` measures the speed of a training on such sets; these numbers show how far the
data is from slowing down a training.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.arguments import add_outputs, parser_of, show
from benchmarks.larger_than_memory import MemoryLimit, drop, write_set
from benchmarks.timing import machine, markdown

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate.config.build import Stream
from voxflate.config.schema import TrainingConfig
from voxflate.data.prepared import Manifest, PreparedSet, Scan, open_prepared

FITS_GIB = 0.25
STREAMS: dict[str, dict[str, Any]] = {
    "volumes": {"phase": "3d", "batch": 8},
    "volumes, flipped": {"phase": "3d", "batch": 8, "flip": True},
    "slices": {"phase": "2d", "batch": 16},
    "slices of a planar twin": {"phase": "2d", "batch": 16, "twin": "planar"},
}
IN_MEMORY, LARGER = "in memory", "larger than memory"
ROUNDS = 5


def write_prepared(folder: Path, gib: float, shape: tuple[int, int, int]) -> PreparedSet:
    """Write a prepared set of random volumes; nothing of it stays in the page cache."""
    folder.mkdir()
    write_set(folder / "train.npy", gib, shape)
    np.save(folder / "heldout.npy", np.zeros((0, *shape), np.int16))
    count = len(np.load(folder / "train.npy", mmap_mode="r"))
    affine = np.eye(4).tolist()
    Manifest(
        recipe="mr",
        steps=[],
        shape=shape,
        spacing=(1.0, 1.0, 1.0),
        affine=affine,
        intensity=(0.0, 1.0),
        scans=[Scan(f"s{index}", "train", "", affine, (0.0, 1.0)) for index in range(count)],
        held_out=0.0,
        seed=0,
        content_sha256="",
        libraries={},
    ).write(folder)
    return open_prepared(folder)


def images_per_second(prepared: PreparedSet, options: Mapping[str, Any], seconds: float) -> float:
    """The median of `ROUNDS` stretches of one stream, batch after batch, as in a training."""
    stream = Stream(prepared, TrainingConfig(**options), torch.device("cpu"))
    batch, shown, speeds = options["batch"], 0, []
    for _ in range(ROUNDS):
        first, started = shown, time.perf_counter()
        while shown == first or time.perf_counter() - started < seconds / ROUNDS:
            stream(shown, batch)
            shown += batch
        speeds.append((shown - first) / (time.perf_counter() - started))
    return statistics.median(speeds)


def all_streams(folder: Path, seconds: float, before: Callable[[Path], None]) -> dict[str, float]:
    """Images per second of every kind of stream; `before` is called with the array's file before each."""
    speeds = {}
    for name, options in STREAMS.items():
        before(folder / "train.npy")
        speeds[name] = images_per_second(open_prepared(folder), options, seconds)
    return speeds


def read_through(path: Path) -> None:
    """Read a file into the page cache."""
    with open(path, "rb") as file:
        while file.read(2**24):
            pass


def limited(folder: Path, seconds: float, pipe: Connection) -> None:
    """Send the speeds of all streams; waits for the limit first."""
    pipe.recv()
    pipe.send(all_streams(folder, seconds, drop))


def larger_than_memory(folder: Path, limit_bytes: int, seconds: float) -> dict[str, float]:
    """Speeds of a set streamed from disk by a process with this much memory.

    Raises:
        VoxflateError: If memory cannot be limited here.
    """
    limit = MemoryLimit(limit_bytes)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=limited, args=(folder, seconds, theirs))
    try:
        process.start()
        theirs.close()  # so that a process that dies ends the waiting below
        limit.take(process.pid or 0)
        ours.send("in")
        speeds: dict[str, float] = ours.recv()
    except EOFError as error:
        raise VoxflateError(f"the process under the limit of {limit_bytes} bytes died; raise it") from error
    finally:
        ours.close()  # and a process that still waits for admission ends too
        process.join()
        limit.remove()
    return speeds


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The content of the table and the JSON file."""
    content: dict[str, Any] = {"machine": machine(), "seconds": options.seconds, "sets": {}}
    batches = {name: stream["batch"] for name, stream in STREAMS.items()}
    content["batch"] = batches
    if options.data:
        prepared = open_prepared(options.data)
        content["sets"][IN_MEMORY] = described(prepared, options.seconds)
        return content
    with tempfile.TemporaryDirectory(prefix="voxflate-", dir=options.scratch) as scratch:
        small = write_prepared(Path(scratch) / "small", min(FITS_GIB, options.gib), options.shape)
        content["sets"][IN_MEMORY] = described(small, options.seconds)
        large = write_prepared(Path(scratch) / "large", options.gib, options.shape)
        try:
            speeds = larger_than_memory(large.root, int(options.limit_gib * 2**30), options.seconds)
            content["sets"][LARGER] = facts(large) | {"limit_gib": options.limit_gib, "images_per_s": speeds}
        except VoxflateError as error:
            print(f"loading: sets larger than memory are left out: {error}", file=sys.stderr)
    return content


def facts(prepared: PreparedSet) -> dict[str, Any]:
    """Shape and size of a set's training split."""
    stored = prepared.stored("train")
    return {"shape": list(prepared.shape), "volumes": len(stored), "gib": stored.nbytes / 2**30}


def described(prepared: PreparedSet, seconds: float) -> dict[str, Any]:
    """A set that fits in memory, and the speeds of its streams."""
    return facts(prepared) | {"images_per_s": all_streams(prepared.root, seconds, read_through)}


def table(content: Mapping[str, Any]) -> str:
    """Markdown: images/s of every stream, a column per set."""
    heads = ["images/s of the stream alone"]
    for name, found in content["sets"].items():
        under = f" under {found['limit_gib']:g} GiB" if "limit_gib" in found else ""
        sides = "x".join(map(str, found["shape"]))
        heads.append(f"{name}: {found['gib']:.2g} GiB of {sides}{under}")
    rows = [
        [
            f"{stream}, batch {batch}",
            *(f"{found['images_per_s'][stream]:,.0f}" for found in content["sets"].values()),
        ]
        for stream, batch in content["batch"].items()
    ]
    return markdown(heads, rows)


def shape(text: str) -> tuple[int, int, int]:
    """Read "32x64x64"."""
    depth, height, width = (int(part) for part in text.split("x"))
    return depth, height, width


def main() -> None:
    """Measure, print the table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, help="prepared folder to stream instead of random volumes")
    parser.add_argument("--shape", type=shape, default=(32, 64, 64), help="D x H x W of random volumes")
    parser.add_argument("--gib", type=float, default=3.0, help="size of the set larger than memory")
    parser.add_argument("--limit-gib", type=float, default=1.5, help="memory of the process that streams it")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each stream and set")
    parser.add_argument("--scratch", type=Path, help="folder for the random sets, on a real disk")
    add_outputs(parser)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    try:
        content = run(options)
    except VoxflateError as error:
        sys.exit(f"loading: {error}")
    show(content, table, options.out)


if __name__ == "__main__":
    main()
