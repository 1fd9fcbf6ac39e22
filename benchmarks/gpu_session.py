"""What the parts of `benchmarks.gpu` share: the device, the time, the results so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

GIB = 2**30


@dataclass
class Session:
    """The input of all parts.

    Attributes:
        device: The device.
        data: The prepared volumes.
        out: Folder of the results.
        seconds: Time for everything.
        ends: When everything must be finished, as `time.monotonic` counts.
        toy: Whether this is a rehearsal.
        results: Results by part.
    """

    device: torch.device
    data: Path
    out: Path
    seconds: float
    ends: float
    toy: bool
    results: dict[str, Any]

    def seconds_left(self) -> float:
        """Seconds until everything must be finished."""
        return self.ends - time.monotonic()

    def wait(self) -> None:
        """Wait until the device has caught up."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def seconds_of(session: Session, call: Callable[[], object], rounds: int = 5) -> float:
    """The fastest of some rounds after a warm-up round."""
    times = []
    for _ in range(rounds + 1):
        session.wait()
        started = time.perf_counter()
        call()
        session.wait()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def use_tf32(session: Session, wanted: bool) -> None:
    """Allow or forbid rounded float32 products (TF32) on a GPU."""
    if session.device.type == "cuda":
        torch.set_float32_matmul_precision("high" if wanted else "highest")
        torch.backends.cudnn.allow_tf32 = wanted
