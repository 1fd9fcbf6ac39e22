"""What the performance benchmarks share: taking turns, facts about the machine, Markdown tables."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from voxflate.build import use_bfloat16
from voxflate.nn.compiled import kernels_in_use

PRECISIONS = ("fp32", "bf16")

Key = TypeVar("Key")


def take_turns(calls: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """Median seconds of every call.

    The calls run one after the other, round after round, so that a busy moment hits all of them alike; a
    first round, in which memory is allocated and convolutions are set up, is not counted.
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    for _ in range(rounds + 1):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            times[key].append(time.perf_counter() - start)
    return {key: statistics.median(values[1:]) for key, values in times.items()}


def has_bfloat16() -> bool:
    """Say whether this processor has instructions for bfloat16; PyTorch emulates them elsewhere, slowly."""
    return use_bfloat16("auto", torch.device("cpu"))


def usual_precisions() -> list[str]:
    """The precisions that are worth a measurement on this processor."""
    return list(PRECISIONS if has_bfloat16() else PRECISIONS[:1])


def machine() -> dict[str, Any]:
    """What the figures depend on; `load` (processes that want a core) above 0 at rest: others compute too."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "kernels": kernels_in_use(),
        "processor": processor(),
        "bfloat16 instructions": has_bfloat16(),
        "load": os.getloadavg()[0],
    }


def processor() -> str:
    """The processor's name where the system tells it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
