"""Time of `prepare` per file with masks, against the scans alone.

    python -m benchmarks.prepare_masks FOLDER --mask 'labels/*' [--shape 16,24,16] [--rounds 7]

Both take turns in one process, so that other load affects both; the median of the rounds'
ratios is printed. A scan with its mask is two files.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.prepare_ratio import timed

from voxflate._system.allocator import keep_freed_memory
from voxflate.data.preparing.prepare import prepare
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Reading


def seconds_per_file(folder: Path, shape: tuple[int, int, int], reading: Reading) -> tuple[float, float]:
    """Wall and CPU seconds, including the report."""
    out, account = Path(tempfile.mkdtemp()), Account()
    clock, processor = timed(
        lambda: prepare(
            folder, out / "set", "mr", shape, salt=b"a salt for a benchmark", reading=reading, account=account
        )
    )
    shutil.rmtree(out)
    return clock / len(account.used), processor / len(account.used)


def main() -> None:
    """Print the medians of the times and of the rounds' ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mask", default="labels/*")
    parser.add_argument("--only", default="images/*")
    parser.add_argument("--shape", default="16,24,16")
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    depth, height, width = (int(side) for side in chosen.shape.split(","))
    readings = {"alone": Reading(only=chosen.only), "masks": Reading(only=chosen.only, mask=chosen.mask)}
    keep_freed_memory()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in readings}
    for number in range(chosen.rounds + 1):
        for name, reading in readings.items():
            found = seconds_per_file(chosen.folder, (depth, height, width), reading)
            if number:  # the first round fills the caches
                times[name].append(found)
    for index, kind in enumerate(("clock", "processor")):
        alone, masks = ([one[index] for one in times[name]] for name in ("alone", "masks"))
        ratio = median(one / other for one, other in zip(masks, alone, strict=True))
        print(
            f"{kind}: {1000 * median(alone):.2f} ms per file alone, {1000 * median(masks):.2f} with masks, "
            f"ratio {ratio:.2f} (median of {chosen.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
