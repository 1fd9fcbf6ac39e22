"""Bootstrap intervals: how much a metric would vary with other subjects and samples.

Subjects are drawn with replacement, each with all of its samples. Repeats raise some metrics (a set with
repeats is effectively smaller), so the interval is the spread of the replicates about their own mean, centred
on the metric (decision 0042).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Replicated = Callable[[Array, Array], Mapping[str, float]]
LEVEL = 0.95
FEWEST = 3
"""Subjects on each side. Draws have at least two (see `_both_counts`), so of two all draws are equal."""


@dataclass(frozen=True)
class Interval:
    """The interval of a metric.

    Attributes:
        low: Lower end of the 95% interval.
        high: Upper end.
        error: Standard deviation of the replicates.
    """

    low: float
    high: float
    error: float


def draw_counts(subjects: Sequence[object], rng: np.random.Generator) -> Array:
    """Draw as many subjects as there are, with replacement.

    Args:
        subjects: Subject of each sample, [n].
        rng: Random number generator.

    Returns:
        Weight of each sample (how often it was drawn), [n].
    """
    _, owner = np.unique(np.asarray([str(subject) for subject in subjects]), return_inverse=True)
    people = int(owner.max()) + 1
    drawn = np.bincount(rng.integers(people, size=people), minlength=people)
    return drawn[owner].astype(np.float64)


def intervals(
    replicated: Sequence[Replicated],
    metrics: Mapping[str, float],
    generated: Sequence[object],
    real: Sequence[object],
    replicates: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of metrics that are functions of the weights of generated and real samples.

    Args:
        replicated: Functions from weights [n] of generated and [m] of real samples to metrics by name.
        metrics: The metrics; those that `replicated` does not return are left out.
        generated: Subject of each generated sample, [n].
        real: Subject of each real sample, [m].
        replicates: Number of draws; no intervals with 0 draws or fewer than `FEWEST` subjects on a side.
        seed: Seed of the draws.

    Returns:
        Name -> interval.
    """
    rng = np.random.default_rng(seed)
    rounds: list[dict[str, float]] = []
    if min(len(set(map(str, generated))), len(set(map(str, real)))) < FEWEST:
        return {}
    for _ in range(replicates):
        counts = _both_counts(generated, real, rng)
        rounds.append({name: value for once in replicated for name, value in once(*counts).items()})
    found = {name: [each[name] for each in rounds if name in each] for name in metrics}
    return {name: interval(metrics[name], values) for name, values in found.items() if len(values) > 1}


def interval(metric: float, replicates: Sequence[float]) -> Interval:
    """The 95% interval about a metric from its replicates."""
    values = np.asarray(replicates, np.float64)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values - values.mean(), [tail, 1 - tail])
    return Interval(float(metric + low), float(metric + high), float(values.std(ddof=1)))


def _both_counts(
    generated: Sequence[object], real: Sequence[object], rng: np.random.Generator
) -> tuple[Array, Array]:
    """Weights of samples of at least two subjects on each side: one has no spread."""
    while True:
        a, b = draw_counts(generated, rng), draw_counts(real, rng)
        if min(owners_drawn(generated, a), owners_drawn(real, b)) >= 2:
            return a, b


def owners_drawn(subjects: Sequence[object], counts: Array) -> int:
    """Number of subjects with a sample of positive weight."""
    return len({str(subject) for subject, count in zip(subjects, counts, strict=True) if count > 0})
