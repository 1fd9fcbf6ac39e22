"""Kills a small 2D and 3D training repeatedly, and compares it with an undisturbed one.

    python -m benchmarks.torture --kills 100 --seed 0

Both trainings run on the built-in cohort through the command line (`voxflate pretrain` and `train`, always
with `--resume auto`). One is undisturbed. The other gets SIGKILL: every third time while a snapshot is
written, otherwise at a random moment. It must continue every time, never skip a snapshot, and end with the
same weights, optimizer moments, random state, samples, sheets and metrics bit for bit; its log must have
every image once.

A write is found by its temporary file. The process is then stopped, and killed if the file is still there.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.arguments import parser_of

# Before anything imports PyTorch: every training is a fork of this process, which must have no threads.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

import voxflate.training.run  # noqa: F401  imported once here, not in every fork
from voxflate._system.errors import VoxflateError
from voxflate._system.files import UNFINISHED
from voxflate.cli import app
from voxflate.data.preparing.prepare import prepare
from voxflate.data.synthetic.cohort import make_cohort
from voxflate.runs.lock import LOCK_NAME
from voxflate.runs.log import LOG_NAME, METRICS_NAME, SNAPSHOTS_NAME, read_rows
from voxflate.runs.snapshots import FOLDER, load_newest

SHAPE = (8, 16, 16)
BATCH = 4
SETTINGS = {
    "network.base": "2,4,4",
    "network.stages": 3,
    "network.channels": 8,
    "network.z_dim": 16,
    "network.w_dim": 16,
    "network.mapping_layers": 2,
    "training.batch": BATCH,
    "training.augment": "translation",
    "training.flip": True,
    "training.threads": 1,
    "training.device": "cpu",
    "training.precision": "fp32",
    "evaluation.every": 5,
    "evaluation.samples": 8,
    "evaluation.extractor": "random",
}


EVERY = 3
"""One in this many kills is aimed at the writing of a snapshot."""

PATIENCE = 120.0
"""Seconds that an aimed kill waits for a write; after that it kills at any point."""


@dataclass
class Tally:
    """Counts of what the kills hit."""

    kills: int = 0
    in_a_write: int = 0


def command(phase: str, root: Path, data: Path, every: int, total: int) -> list[str]:
    """The command that starts and resumes a training; lengths in images."""
    words = [
        "pretrain" if phase == "2d" else "train",
        str(data),
        "--out",
        str(root / phase),
        "--resume",
        "auto",
    ]
    if phase == "3d":
        words += ["--start", str(root / "2d"), "--strategy", "inflate-1"]
    lengths = {"training.snapshot_kimg": every / 1000, "training.kimg": total / 1000}
    for key, value in {**SETTINGS, **lengths}.items():
        words += ["--set", f"{key}={value}"]
    return words


def start(words: list[str], log: Path) -> int:
    """Run a command in a fork of this process; return its process id."""
    if pid := os.fork():
        return pid
    with open(log, "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    status: Any = 1
    try:
        app(words)
    except SystemExit as end:
        status = end.code or 0
    except BaseException as error:
        print(f"Traceback: {error!r}", flush=True)
    finally:
        os._exit(status)


def ended(pid: int) -> int | None:
    """The exit status of a process, or None while it runs; 0 is success, -9 is killed."""
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def unfinished(run: Path) -> set[str]:
    """Names of snapshots that are being written, or that a killed process left unfinished."""
    return {path.name for path in (run / FOLDER).glob(UNFINISHED)}


def stop_in_a_write(pid: int, run: Path, before: set[str], rng: np.random.Generator) -> int | None:
    """Stop a process while it writes a snapshot; return its exit status if it ended before.

    Args:
        pid: The process.
        run: Its run folder.
        before: Unfinished files of earlier processes.
        rng: Decides how far the write gets.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (status := ended(pid)) is not None:
            return status
        if unfinished(run) - before:
            time.sleep(rng.random() * 0.0005)  # at a different byte every time
            os.kill(pid, signal.SIGSTOP)
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                return os.waitstatus_to_exitcode(status)
            if unfinished(run) - before:
                return None
            os.kill(pid, signal.SIGCONT)  # too late: the next one
        time.sleep(0.0001)
    return None


def kill(pid: int, status: int | None) -> int | None:
    """Kill a process if it still runs (`status` is None); return its exit status if it had ended."""
    if status is None:
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if status == -signal.SIGKILL else status


def torture(words: list[str], run: Path, kills: int, longest: float, rng: np.random.Generator) -> Tally:
    """Kill a training `kills` times, then let it finish.

    Raises:
        AssertionError: If it ends before in another way, or does not continue.
    """
    log, tally = run.with_suffix(".log"), Tally()
    with Progress(console=Console(stderr=True)) as bar:
        for number in bar.track(range(kills), description=f"killing {run.name}"):
            before, pid = unfinished(run), start(words, log)
            if number % EVERY == 0:
                status = kill(pid, stop_in_a_write(pid, run, before, rng))
            else:
                time.sleep(longest * rng.random())
                status = kill(pid, ended(pid))
            check(status is None, f"{run}: ended with {status} after {tally.kills} kills; see {log}")
            tally.kills += 1
            tally.in_a_write += bool(unfinished(run) - before)
    finish(words, run)
    check("skipped" not in log.read_text(), f"{run}: passed over a snapshot; see {log}")
    return tally


def finish(words: list[str], run: Path) -> float:
    """Let a training finish; return its seconds."""
    log, begun = run.with_suffix(".log"), time.monotonic()
    run.parent.mkdir(parents=True, exist_ok=True)
    _, status = os.waitpid(start(words, log), 0)
    check(status == 0, f"{run}: ended with status {status}; see {log}")
    check("Traceback" not in log.read_text(), f"{run}: failed; see {log}")
    return time.monotonic() - begun


def compare(alone: Path, killed: Path, total: int) -> None:
    """Check that two runs are equal, and that the log has every image once.

    Raises:
        AssertionError: Names the first difference.
    """
    same(load_newest(alone)[0], load_newest(killed)[0], killed.name)
    for run in (alone, killed):
        check(gaps(run, total) == (0, 0), f"{run}: images counted twice and missing: {gaps(run, total)}")
        check(not list(run.rglob(UNFINISHED)), f"{run}: unfinished files were left behind")
        check(not (run / LOCK_NAME).exists(), f"{run}: its lock was left behind")
    for name in (METRICS_NAME, SNAPSHOTS_NAME):
        check(read_rows(alone / name) == read_rows(killed / name), f"{killed / name}: differs")
    sheets = [
        {path.name: path.read_bytes() for path in (run / "sheets").glob("*")} for run in (alone, killed)
    ]
    check(sheets[0] == sheets[1], f"{killed}/sheets: differ")


def gaps(run: Path, total: int) -> tuple[int, int]:
    """Number of images that the log counts twice, and that it lacks."""
    counted = np.zeros(total, int)
    for row in read_rows(run / LOG_NAME):
        counted[row["since"] : row["n_images"]] += 1
    return int((counted > 1).sum()), int((counted == 0).sum())


def same(a: Any, b: Any, where: str) -> None:
    """Check that two states are equal bit for bit; only the seconds may differ."""
    check(type(a) is type(b), where)
    if isinstance(a, dict):
        check(a.keys() == b.keys(), where)
        for key in a.keys() - {"seconds"}:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        check(len(a) == len(b), where)
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    else:
        check(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, f"{where} differs")


def check(holds: bool, message: str) -> None:
    """Raise AssertionError with the message unless it holds."""
    if not holds:
        raise AssertionError(message)


def run_all(folder: Path, kills: int, steps: int, seed: int) -> None:
    """Prepare the cohort, train undisturbed, train with kills, compare; print one line per phase."""
    rng = np.random.default_rng(seed)
    make_cohort(folder / "cohort", 12, (16, 32, 32), seed=seed)
    data = prepare(folder / "cohort", folder / "data", "adni", SHAPE, held_out=0.25, seed=seed).root
    for phase, count in (("2d", kills - kills // 2), ("3d", kills // 2)):
        snapshots = 2 * count + 4
        alone, killed = folder / "alone" / phase, folder / "killed" / phase
        every, total = steps * BATCH, snapshots * steps * BATCH
        seconds = finish(command(phase, alone.parent, data, every, total), alone)
        # Long enough for a start and, on average, one snapshot.
        longest = 1.0 + 2 * seconds / snapshots
        killed.parent.mkdir(exist_ok=True)
        begun = time.monotonic()
        tally = torture(command(phase, killed.parent, data, every, total), killed, count, longest, rng)
        compare(alone, killed, total)
        print(
            f"{phase}: {tally.kills} kills, {tally.in_a_write} of them inside a snapshot's write, in "
            f"{time.monotonic() - begun:.0f} s (left alone {seconds:.0f} s); {total} images, "
            "counted twice 0, missing 0; final state, samples, sheets and metrics equal bit for bit",
            flush=True,
        )


def main() -> None:
    """Print a line per phase; exit status 1 with the difference if there is one."""
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=5, help="steps between two snapshots")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="working folder, which is kept")
    arguments = parser.parse_args()
    try:
        if arguments.keep:
            run_all(arguments.keep, arguments.kills, arguments.steps, arguments.seed)
        else:
            with tempfile.TemporaryDirectory(prefix="voxflate-torture-") as folder:
                run_all(Path(folder), arguments.kills, arguments.steps, arguments.seed)
    except (AssertionError, VoxflateError) as error:
        sys.exit(f"torture: {error}")


if __name__ == "__main__":
    main()
