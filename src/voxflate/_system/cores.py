"""How many cores this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Cores that the process may run on, at least 1.

    `os.cpu_count` counts the whole machine even if a scheduler or `taskset` limits the process to a part of
    it. The affinity, which macOS does not have, knows the limit.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
