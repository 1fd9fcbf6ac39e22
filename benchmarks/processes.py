"""Images per second of a training by several one-thread processes, against one process with as many threads.

    python -m benchmarks.processes DATA [--processes 2] [--kimg 0.4] [--rounds 3] [--set KEY=VALUE ...]

DATA is a prepared set. Both train the same run (`voxflate train`, strategy none, no measurements at
snapshots), in turn, round after round; images and seconds are from the run's log, without starting and
saving. Prints medians.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.arguments import parser_of

from voxflate.runs.log import LOG_NAME, read_rows


def command(data: Path, out: Path, kimg: float, assignments: list[str], threads: int) -> list[str]:
    """The arguments after `python -m`, or after torchrun's `-m`."""
    settings = [f"training.kimg={kimg}", f"training.threads={threads}", "evaluation.every=0"]
    settings += ["slice_discriminator.weight=0", *assignments]  # the speed of the networks
    words = ["voxflate", "train", str(data), "--strategy", "none", "--out", str(out)]
    return words + [word for setting in settings for word in ("--set", setting)]


def images_per_second(run: Path) -> float:
    """Speed of the second half of a run, after buffers are allocated and kernels chosen."""
    rows = read_rows(run / LOG_NAME)
    last = rows[-1]
    middle = min(rows, key=lambda row: abs(row["n_images"] - last["n_images"] / 2))
    return float((last["n_images"] - middle["n_images"]) / (last["seconds"] - middle["seconds"]))


def main() -> None:
    """Print the medians and their ratio."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kimg", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    given = parser.parse_args()
    several = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(given.processes), "-m"]
    kinds = {"processes": (several, 1), "threads": ([], given.processes)}
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="voxflate-") as scratch:
        for number in range(given.rounds):
            for kind, (launcher, threads) in kinds.items():
                run = Path(scratch) / f"{kind}-{number}"
                words = command(given.data.resolve(), run, given.kimg, given.assignments, threads)
                subprocess.run([sys.executable, "-m", *launcher, *words], check=True, capture_output=True)
                speeds[kind].append(images_per_second(run))
    for kind, values in speeds.items():
        span = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{given.processes} {kind:10} {median(values):7.2f} images/s ({span})")
    print(f"ratio {median(a / b for a, b in zip(*speeds.values(), strict=True)):.3f}")


if __name__ == "__main__":
    main()
