"""How many cores this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that the process may run on, at least 1.

    `os.cpu_count` counts the whole machine, also where a scheduler or `taskset` has given the process a
    part of it; the affinity, which not every system has, tells.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
