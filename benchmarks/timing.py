"""Code shared by the performance benchmarks: taking turns, facts about the machine, Markdown tables."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from voxflate._system.cores import processor_name
from voxflate.config.build import use_bfloat16
from voxflate.nn.run_stage import kernels_in_use

PRECISIONS = ("fp32", "bf16")
UNSTEADY = 2.0
"""Ratio of the slowest round to the median above which a measurement counts as unsteady."""

Key = TypeVar("Key")


def take_turns(calls: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """Median seconds of every call.

    The calls run one after the other, round after round, so that other load affects all of them; a
    first round, in which memory is allocated and convolutions are set up, is not counted. A line on stderr
    reports rounds that differ much: medians of few rounds do not help against lasting load.
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    for _ in range(rounds + 1):
        for key, call in calls.items():
            start = time.perf_counter()
            call()
            times[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(values[1:]) for key, values in times.items()}
    worst = max(times, key=lambda key: max(times[key][1:]) / medians[key])
    slowest = max(times[worst][1:])
    if slowest > UNSTEADY * medians[worst]:
        print(
            f"unsteady: a round of {worst} took {slowest:.3g} s, the median is {medians[worst]:.3g} s; "
            "measure again when the cores are idle",
            file=sys.stderr,
        )
    return medians


def has_bfloat16() -> bool:
    """Tell whether this processor has bfloat16 instructions; elsewhere PyTorch emulates them slowly."""
    return use_bfloat16("auto", torch.device("cpu"))


def usual_precisions() -> list[str]:
    """The precisions worth measuring on this processor."""
    return list(PRECISIONS if has_bfloat16() else PRECISIONS[:1])


def machine() -> dict[str, Any]:
    """Facts that the results depend on; `load` above 0 at rest means that other processes need the cores."""
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "kernels": kernels_in_use(),
        "processor": processor_name(),
        "bfloat16 instructions": has_bfloat16(),
        "load": os.getloadavg()[0],
    }


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
