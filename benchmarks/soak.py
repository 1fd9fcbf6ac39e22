"""Writes thousands of snapshots in one process: memory and file handles must not grow.

    python -m benchmarks.soak --snapshots 2000

A tiny 3D run on random boxes writes a snapshot after every step: state, log rows, TensorBoard, sample sheet,
fingerprint, and metrics at every twentieth. Resident memory and open files are read twenty times. The first
tenth is warm-up; after it memory may grow by 2 percent and the number of open files not at all.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import parser_of

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console
from rich.progress import Progress

from voxflate._system.allocator import keep_freed_memory
from voxflate.config.schema import RunConfig
from voxflate.config.toml import with_values
from voxflate.data.preparing.prepare import prepare
from voxflate.data.synthetic.cohort import make_cohort
from voxflate.runs.snapshots import list_snapshots, load_snapshot
from voxflate.training.recorder import Progress as Step
from voxflate.training.run import train_run

SHAPE = (4, 8, 8)
GROWTH = 1.02
READINGS = 20


@dataclass(frozen=True)
class Reading:
    """Memory and open files of the process after a number of snapshots."""

    snapshots: int
    megabytes: float
    handles: int


def read(snapshots: int) -> Reading:
    """Resident memory and open files of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Reading(snapshots, megabytes, len(os.listdir("/proc/self/fd")))


def soak(folder: Path, snapshots: int) -> list[Reading]:
    """Train with a snapshot at every step; return the readings."""
    make_cohort(folder / "cohort", 8, (16, 32, 32))
    data = prepare(folder / "cohort", folder / "data", "adni", SHAPE, held_out=0.25).root
    batch = 2
    config = with_values(
        RunConfig(),
        {
            "data": str(data),
            "network.base": (2, 4, 4),
            "network.stages": 2,
            "network.channels": 4,
            "network.z_dim": 8,
            "network.w_dim": 8,
            "network.mapping_layers": 2,
            "training.batch": batch,
            "training.mbstd_group": 2,
            "training.kimg": snapshots * batch / 1000,
            "training.snapshot_kimg": batch / 1000,
            "training.threads": 1,
            "training.precision": "fp32",
            "evaluation.every": 20,
            "evaluation.samples": 4,
            "evaluation.extractor": "random",
        },
    )
    readings: list[Reading] = []
    every = max(1, snapshots // READINGS)
    with Progress(console=Console(stderr=True)) as bar:
        row = bar.add_task("snapshots", total=snapshots)

        def after_step(step: Step) -> None:
            done = step.n_images // batch
            bar.update(row, completed=done)
            if done % every == 0:
                readings.append(read(done))

        train_run(config, folder / "run", on_progress=after_step)
    for path in list_snapshots(folder / "run"):
        load_snapshot(path)
    return readings


def main() -> None:
    """Print the readings; exit status 1 if something grew."""
    parser = parser_of(__doc__)
    parser.add_argument("--snapshots", type=int, default=2000)
    snapshots = parser.parse_args().snapshots
    keep_freed_memory()  # as the command line does
    with tempfile.TemporaryDirectory(prefix="voxflate-soak-") as folder:
        readings = soak(Path(folder), snapshots)
    for reading in readings:
        print(f"{reading.snapshots:6d} snapshots: {reading.megabytes:7.1f} MB, {reading.handles} open files")
    warm = [reading for reading in readings if reading.snapshots >= snapshots / 10]
    growth = float(np.median([r.megabytes for r in warm[-3:]]) / np.median([r.megabytes for r in warm[:3]]))
    handles = warm[-1].handles - warm[0].handles
    print(f"after warming up: memory times {growth:.3f}, open files {handles:+d}")
    sys.exit(growth > GROWTH or handles > 0)


if __name__ == "__main__":
    main()
