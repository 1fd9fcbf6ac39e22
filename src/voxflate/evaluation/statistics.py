"""Collects metrics with their intervals and floors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from voxflate.evaluation.assessment import Metric
from voxflate.evaluation.distances import (
    Refit,
    Views,
    compare_features,
    halvings,
    heldout_kid,
    replicated_features,
    replicated_heldout_kid,
)
from voxflate.metrics.bootstrap import LEVEL, Interval, Replicated, intervals
from voxflate.metrics.table import range_of

HALVINGS = 20
"""Number of random halvings of the real set for the floor, which is their mean."""

Range = tuple[float, float, float]


class Statistics:
    """Collects metrics.

    Args:
        replicates: Bootstrap replicates; 0 leaves out the intervals.
        seed: Seed of replicates and halvings.
    """

    def __init__(self, replicates: int, seed: int) -> None:
        self._replicates = replicates
        self._seed = seed
        self._replicated: list[Replicated] = []
        self._floors: dict[str, Range] = {}
        self.values: dict[str, float] = {}
        self.real_subjects: Sequence[str] = ()

    def add_features(
        self, name: str, generated: Views, real: Views, slices: int, refit: Refit | None = None
    ) -> None:
        """Compare the features of a network; `real_subjects` must be set.

        Args:
            name: Name of the network.
            generated: View -> [n x slices, f].
            real: View -> [m x slices, f].
            slices: Slices per volume.
            refit: As for `halvings`.
        """
        owners, fitted = (None, self.real_subjects), refit is not None
        self.values |= compare_features(name, generated, real, slices, owners, fitted=fitted)
        if self._replicates:
            self._replicated += replicated_features(name, generated, real, slices, owners, fitted=fitted)
        rounds = halvings(name, real, self.real_subjects, HALVINGS, self._seed, slices, refit)
        for key in rounds[0] if rounds else ():
            values = [metrics[key] for metrics in rounds]
            low, high = np.quantile(values, _ends())
            self._floors[key] = (float(np.mean(values)), float(low), float(high))

    def add_heldout(self, name: str, generated: Views, real: Views, n_train: int, slices: int) -> None:
        """Add the distance to held-out volumes, with that of training volumes to them as its floor."""
        people = self.real_subjects
        found = heldout_kid(name, generated, real, n_train, slices, (None, people))
        if not found:
            return
        self.values |= found
        if self._replicates:
            replicated = replicated_heldout_kid(name, generated, real, n_train, slices, (None, people))
            self._replicated.append(replicated)
        train = {view: x[: n_train * slices] for view, x in real.items()}
        floors = heldout_kid(name, train, real, n_train, slices, (people[:n_train], people))
        self._floors |= {key: (floor, floor, floor) for key, floor in floors.items()}

    def add_pairs(
        self,
        metrics: Mapping[str, float],
        replicated: Replicated,
        real: Mapping[str, float],
        real_replicated: Replicated,
    ) -> None:
        """Add metrics of pairs of generated and of real volumes, both with intervals."""
        self.values |= metrics
        self._replicated.append(replicated)
        people = self.real_subjects
        found = self._intervals([real_replicated], real, people)
        for name, value in real.items():
            here = found.get(name)
            self._floors[name] = (value, here.low if here else value, here.high if here else value)

    def add_plain(self, metrics: Mapping[str, float], real: Mapping[str, float]) -> None:
        """Add metrics without an interval, and their floors."""
        self.values |= metrics
        self._floors |= {name: (value, value, value) for name, value in real.items()}

    def metrics(self, n_generated: int) -> dict[str, Metric]:
        """Every metric with its interval and its floor."""
        samples = [str(number) for number in range(n_generated)]
        found = self._intervals(self._replicated, self.values, samples)
        metrics = {}
        for name, value in self.values.items():
            here = found.get(name)
            spread = (here.low, here.high, here.error) if here else (None, None, None)
            metrics[name] = Metric(value, *spread, *self._floors.get(name, (None, None, None)))
        return metrics

    def _intervals(
        self, replicated: Sequence[Replicated], metrics: Mapping[str, float], samples: Sequence[str]
    ) -> dict[str, Interval]:
        """Intervals whose ends are values that the metrics can have."""
        found = intervals(replicated, metrics, samples, self.real_subjects, self._replicates, self._seed)
        for name, here in found.items():
            lowest, highest = range_of(name)
            found[name] = replace(here, low=max(here.low, lowest), high=min(here.high, highest))
        return found


def _ends() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2
