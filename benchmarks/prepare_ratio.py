"""Time of `prepare`, against only reading the same NIfTI files with nibabel.

    python -m benchmarks.prepare_ratio FOLDER [--recipe adni] [--shape 64,64,64] [--rounds 9]

Three things take turns in one process: reading in a loop over `nibabel.load(path).get_fdata()`, the same
reading with as many threads as `prepare`, and `prepare` with its report. Each round gives one ratio of
preparing to reading, so that other load affects both; the median of the rounds is printed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
from benchmarks.arguments import parser_of

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.cores import available_cores
from voxflate._system.parallel import in_order, workers
from voxflate.data.preparing.prepare import prepare


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a function."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def read(path: Path) -> None:
    """Read a file."""
    nib.load(path).get_fdata(dtype=np.float32)


def read_all(paths: list[Path]) -> None:
    """Read every file, one after the other."""
    for path in paths:
        read(path)


def read_by_threads(paths: list[Path]) -> None:
    """Read every file with as many threads as `prepare`."""
    with workers() as pool:
        for _ in in_order(pool, read, paths):
            pass


def prepare_all(folder: Path, out: Path, recipe: str, shape: tuple[int, int, int]) -> None:
    """Prepare them, including the report."""
    prepare(folder, out, recipe, shape, salt=b"a salt for a benchmark")


def main() -> None:
    """Print the medians of the times and of the rounds' ratios."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", default="adni")
    parser.add_argument("--shape", default="64,64,64")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command line does
    depth, height, width = (int(side) for side in arguments.shape.split(","))
    paths = sorted(path for path in arguments.folder.rglob("*.nii*"))
    with tempfile.TemporaryDirectory(prefix="voxflate-") as scratch:
        out = Path(scratch) / "set"
        kinds: dict[str, Callable[[], None]] = {
            "reading": lambda: read_all(paths),
            "reading by threads": lambda: read_by_threads(paths),
            "preparing": lambda: prepare_all(arguments.folder, out, arguments.recipe, (depth, height, width)),
        }
        rounds: list[dict[str, tuple[float, float]]] = []
        for _ in range(arguments.rounds + 1):
            rounds.append({kind: timed(function) for kind, function in kinds.items()})
            shutil.rmtree(out)  # not part of preparing
        del rounds[0]  # warmed up the page cache and loaded code
    print(f"{len(paths)} files; {available_cores()} cores; medians of {arguments.rounds} rounds")
    for name, index in (("clock", 0), ("processor", 1)):
        for kind in kinds:
            seconds = median(one[kind][index] for one in rounds)
            ratios = sorted(one["preparing"][index] / one[kind][index] for one in rounds)
            print(
                f"{name:9}  {kind:18} {seconds:6.2f} s   preparing takes {median(ratios):5.2f} times as long"
                f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )


if __name__ == "__main__":
    main()
