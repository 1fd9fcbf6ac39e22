"""Several seeds of one setting: mean and spread of a metric, and whether two settings differ.

Runs with the same seed form pairs: a test over their differences needs fewer runs than one that ignores the
pairs, as runs with one seed share their codes, their order of images and, in 3D, often their start.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

LEVEL = 0.05
"""Largest p-value at which two settings count as different."""


@dataclass(frozen=True)
class Spread:
    """A metric over seeds.

    Attributes:
        mean: Mean over the seeds.
        deviation: Standard deviation over the seeds (n - 1 in the denominator); None for one seed.
        n: Number of seeds.
    """

    mean: float
    deviation: float | None
    n: int


@dataclass(frozen=True)
class Paired:
    """A paired t-test over seeds.

    Attributes:
        difference: Mean of (first - second).
        low: Lower end of its 95% interval.
        high: Upper end.
        p: Two-sided p-value, not corrected for the number of comparisons.
        n: Number of shared seeds.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of a metric over seeds.

    Args:
        values: One per seed, at least one.
    """
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), deviation, len(values))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired | None:
    """Compare two settings over their shared seeds.

    >>> paired({0: 3.0, 1: 5.0, 2: 4.0}, {0: 1.0, 1: 2.0, 2: 3.0}).difference
    2.0

    Args:
        first: Seed -> metric.
        second: The same for another setting.

    Returns:
        The test; None if fewer than two seeds are shared.
    """
    seeds = sorted(first.keys() & second.keys())
    if len(seeds) < 2:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    mean, error = statistics.fmean(differences), statistics.stdev(differences) / math.sqrt(len(seeds))
    freedom = len(seeds) - 1
    reach = error * float(stats.t.ppf(1 - LEVEL / 2, freedom))
    certain = 0.0 if mean else 1.0  # all differences are equal
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom)) if error else certain
    return Paired(mean, mean - reach, mean + reach, p, len(seeds))
