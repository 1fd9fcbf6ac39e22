"""How long `prepare` takes, against merely reading the same NIfTI files with nibabel.

    python -m benchmarks.prepare_ratio FOLDER [--recipe adni] [--shape 64,64,64] [--rounds 5]

Both run in turn in this process: `prepare` on all cores, reading as a loop over
`nibabel.load(path).get_fdata()`. The smallest of the rounds is taken, when the machine was least disturbed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from voxflate.cores import available_cores
from voxflate.data.prepare import prepare


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a function takes, by the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def read_all(paths: list[Path]) -> None:
    """Read every file."""
    for path in paths:
        nib.load(path).get_fdata(dtype=np.float32)


def prepare_all(folder: Path, recipe: str, shape: tuple[int, int, int]) -> None:
    """Prepare them, report included, and remove the set."""
    scratch = Path(tempfile.mkdtemp(prefix="voxflate-"))
    try:
        prepare(folder, scratch / "set", recipe, shape, salt=b"a salt for a benchmark")
    finally:
        shutil.rmtree(scratch)


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", default="adni")
    parser.add_argument("--shape", default="64,64,64")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    depth, height, width = (int(side) for side in arguments.shape.split(","))
    paths = sorted(path for path in arguments.folder.rglob("*.nii*"))
    read_all(paths)  # into the page cache
    reading, preparing = [], []
    for _ in range(arguments.rounds):
        reading.append(timed(lambda: read_all(paths)))
        preparing.append(
            timed(lambda: prepare_all(arguments.folder, arguments.recipe, (depth, height, width)))
        )
    n = len(paths)
    print(f"{n} files; {available_cores()} cores; the best of {arguments.rounds} rounds each")
    for name, index in (("clock", 0), ("processor", 1)):
        read, prepared = (min(times[index] for times in kind) for kind in (reading, preparing))
        print(
            f"{name:9}  reading {read:6.2f} s ({n / read:5.1f}/s)  preparing {prepared:6.2f} s "
            f"({n / prepared:5.1f}/s)  ratio {prepared / read:5.2f}"
        )


if __name__ == "__main__":
    main()
