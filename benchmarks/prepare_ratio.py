"""Time of `prepare`, against only reading the same NIfTI files with nibabel.

    python -m benchmarks.prepare_ratio [FOLDER] [--recipe adni] [--shape 64,64,64] [--rounds 9]
    python -m benchmarks.prepare_ratio --table docs/benchmarks/prepare_ratio.json    # Markdown

Without FOLDER, synthetic brains are made first. Three things take turns in one process: reading in a
loop over `nibabel.load(path).get_fdata()`, the same reading with as many threads as `prepare`, and
`prepare` with its report. Each round gives one ratio of preparing to reading, so that other load affects
both; the table has the rounds' median, least and largest.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import nibabel as nib
import numpy as np
from benchmarks.arguments import add_outputs, parser_of, show
from benchmarks.timing import machine, markdown

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.cores import available_cores
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json
from voxflate._system.parallel import in_order, workers
from voxflate.data.preparing.prepare import prepare
from voxflate.data.synthetic.cohort import make_cohort

BRAINS, BRAIN_SHAPE = 148, (96, 96, 96)
"""Number and size of the synthetic brains."""
CLOCKS = ("wall", "processor")


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


def run(folder: Path, recipe: str, shape: tuple[int, int, int], rounds: int) -> dict[str, Any]:
    """The content of the table and the JSON file."""
    facts = machine()
    paths = sorted(folder.rglob("*.nii*"))
    with tempfile.TemporaryDirectory(prefix="voxflate-") as scratch:
        out = Path(scratch) / "set"
        kinds: dict[str, Callable[[], None]] = {
            "reading": lambda: read_all(paths),
            "reading by threads": lambda: read_by_threads(paths),
            "preparing": lambda: prepare_all(folder, out, recipe, shape),
        }
        found: list[dict[str, tuple[float, float]]] = []
        for _ in range(rounds + 1):
            found.append({kind: timed(function) for kind, function in kinds.items()})
            shutil.rmtree(out)  # not part of preparing
        del found[0]  # warmed up the page cache and loaded code
    times = {
        kind: {
            clock: {
                "seconds": median(one[kind][index] for one in found),
                "ratios": sorted(one["preparing"][index] / one[kind][index] for one in found),
            }
            for index, clock in enumerate(CLOCKS)
        }
        for kind in kinds
    }
    facts |= {"threads": available_cores(), "rounds": rounds}
    return {"machine": facts, "files": len(paths), "recipe": recipe, "shape": list(shape), "times": times}


def table(content: Mapping[str, Any]) -> str:
    """Markdown: how many times as long preparing takes, by clock and by processor time."""
    rows = []
    for kind, clocks in content["times"].items():
        if kind == "preparing":
            continue
        ratios = [clocks[clock]["ratios"] for clock in CLOCKS]
        rows.append([kind, *(f"{median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})" for each in ratios)])
    sides = "x".join(map(str, content["shape"]))
    first = f"preparing {content['files']} files to {sides} ({content['recipe']}), times as long as"
    return markdown([first, *(f"{clock} time" for clock in CLOCKS)], rows)


def main() -> None:
    """Measure, print the table, write it as JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="NIfTI files; synthetic brains without it")
    parser.add_argument("--recipe", default="adni")
    parser.add_argument("--shape", default="64,64,64")
    parser.add_argument("--rounds", type=int, default=9)
    add_outputs(parser)
    options = parser.parse_args()
    if options.table:
        print(table(read_json(options.table)))
        return
    keep_freed_memory()  # as the command line does
    depth, height, width = (int(side) for side in options.shape.split(","))
    try:
        with tempfile.TemporaryDirectory(prefix="voxflate-") as scratch:
            if options.folder is None:
                make_cohort(scratch, BRAINS, BRAIN_SHAPE)
            folder = options.folder or Path(scratch)
            content = run(folder, options.recipe, (depth, height, width), options.rounds)
    except VoxflateError as error:
        sys.exit(f"prepare_ratio: {error}")
    show(content, table, options.out)


if __name__ == "__main__":
    main()
