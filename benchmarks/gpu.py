"""All measurements of a GPU, in one run of at most nine minutes.

    python -m benchmarks.gpu data/brains --out gpu [--minutes 9]
    python -m benchmarks.gpu data/brains --out gpu --rehearse    # the same on a CPU, at toy sizes

Prepared volumes are the only input; no network is needed. In this order:

1. checks: a step waits for nothing and launches as much for any batch; random numbers are the CPU's; a NaN
   gradient moves no weight; a snapshot continues.
2. agreement: gradients of each kind of step, GPU against CPU, float32 without TF32, same random numbers.
3. ceilings: bytes/s of a copy, FLOP/s of matrix products in each precision; convolutions in both layouts.
4. steps: images/s and peak memory by shape, batch and precision, with the share of both ceilings that the
   step's operations reach; one with slices; the straight lift of `benchmarks.straight` for comparison.
5. sampling: volumes/s of the generator, and of MONAI's U-Net if MONAI is installed.
6. compiled: images/s of a step as it is, with torch.compile and with CUDA graphs, and whether the gradients
   agree with those of the step as it is.
7. training: the recommended path on the volumes, 2D and 3D, for the rest of the time; sheet, metrics and an
   exported generator.

Every result is written to OUT/gpu.json as soon as it is there. A failure becomes a result, and the rest
continues; the exit status is then 1. What does not fit, or has no time, is reported and is no failure.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmarks.arguments import parser_of
from benchmarks.gpu_checks import agreement, checks
from benchmarks.gpu_session import GIB, Results, Session, failures, free, in_words
from benchmarks.gpu_steps import ceilings, compiled, sampling, steps
from benchmarks.gpu_training import training
from benchmarks.timing import machine

from voxflate._system.devices import described
from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder
from voxflate.data.prepared import open_prepared
from voxflate.nn.run_stage import use_kernels


class Part(NamedTuple):
    """A part of the script.

    Attributes:
        run: Yields its results.
        share: Share of the whole time that the parts before it keep for it.
    """

    run: Callable[[Session], Results]
    share: float = 0.0


PARTS = {
    "checks": Part(checks),
    "agreement": Part(agreement),
    "ceilings": Part(ceilings),
    "steps": Part(steps),
    "sampling": Part(sampling, 0.03),
    "compiled": Part(compiled, 0.30),
    "training": Part(training, 0.28),
}


def main() -> None:
    """Run the parts in turn; write every result at once."""
    parser = parser_of(__doc__)
    parser.add_argument("data", type=Path, help="a prepared set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; new or empty")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at toy sizes")
    options = parser.parse_args()
    try:
        session = begin(options)
    except VoxflateError as error:
        sys.exit(f"gpu: {error}")
    use_kernels("plain")  # a CPU's own kernels are neither compared nor compiled
    chosen = {name: part for name, part in PARTS.items() if name in options.only}
    for name in chosen:
        later = list(chosen)[list(chosen).index(name) + 1 :]
        session.kept = session.seconds * sum(chosen[other].share for other in later)
        run(session, name, chosen[name].run)
    if failed := failures(session.results):
        sys.exit(f"gpu: failed: {'; '.join(failed)}")


def run(session: Session, name: str, part: Callable[[Session], Results]) -> None:
    """Run one part; what it found before it failed stays."""
    started = time.monotonic()
    found = session.results[name] = {}
    try:
        for key, value in part(session):
            found[key] = plain(value)
            print(f"{name}: {key}: {found[key]}", flush=True)
            session.write()
    except Exception as error:  # a failure is also a result
        traceback.print_exc()
        found["failed"] = in_words(error)
        print(f"{name}: failed: {found['failed']}", flush=True)
    found["took_s"] = plain(time.monotonic() - started)
    session.write()
    free(session.device)


def plain(value: Any) -> Any:
    """A result as JSON has it: four digits, and NaN and infinity as text.

    >>> plain({"seconds": 1.23456, "apart": math.inf, "count": 123456})
    {'seconds': 1.235, 'apart': 'inf', 'count': 123456}
    """
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else str(value)
    return value


def begin(options: argparse.Namespace) -> Session:
    """Check everything, and write the first facts.

    Raises:
        VoxflateError: If there is no GPU and this is not a rehearsal, or folder or data cannot be used.
    """
    ends = time.monotonic() + 60 * options.minutes
    if not options.rehearse and not torch.cuda.is_available():
        raise VoxflateError("PyTorch sees no CUDA device; --rehearse runs the script on the CPU")
    open_prepared(options.data)
    check_new_folder(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cpu") if options.rehearse else torch.device("cuda", torch.cuda.current_device())
    facts = machine() | {"device": str(device), "rehearsal": options.rehearse} | facts_of(device)
    session = Session(device, options.data, options.out, 60 * options.minutes, ends, options.rehearse)
    session.results["machine"] = plain(facts)
    session.write()
    return session


def facts_of(device: torch.device) -> dict[str, Any]:
    """A GPU's card with its versions, and its memory; nothing of a CPU."""
    if device.type != "cuda":
        return {}
    memory = torch.cuda.get_device_properties(device).total_memory
    return {"card": described(device), "memory_gib": memory / GIB, "driver": driver()}


def driver() -> str:
    """Version of the driver; empty if its tool is missing."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
        return answer.stdout.split("\n")[0].strip()
    return ""


if __name__ == "__main__":
    main()
