"""Metrics of pairs of volumes, computed while the volumes stream by without keeping them.

A generated volume is compared with the previous one, with a random real volume, with the nearest real
one and with the mean of the real ones. For real volumes the partners are volumes of other subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate.evaluation.real import Features, Images, RealSet
from voxflate.metrics.bootstrap import Replicated
from voxflate.metrics.psnr import from_error, squared_errors
from voxflate.metrics.table import PAIR_METRICS, PairMetric

Array = NDArray[np.float64]

MOST_PAIRS = 500
"""Number of pairs compared, generated and real; more pairs change only the third digit."""

_CHUNK = 8
_MEAN_NAME = "mean volume"


class PairBank:
    """Collects the metrics of pairs.

    Args:
        real: The real volumes.
        seed: Seed of the random partners.
    """

    def __init__(self, real: RealSet, seed: int = 0) -> None:
        self._real = real
        self._rng = np.random.default_rng(seed)
        self._metrics = _that_fit(real.prepared.shape)
        self._mean = mean_volume(real)
        self._before: Tensor | None = None
        self._seen = 0
        self._values: dict[str, list[float]] = {name: [] for name in self._metrics}
        self._partners: list[int] = []  # the random real volume of each generated one

    @property
    def left_out(self) -> list[str]:
        """Metrics for which the volumes are too small."""
        return [name for name in PAIR_METRICS if name not in self._metrics]

    def add(self, batch: Images) -> None:
        """Compare the next generated volumes, [b, 1, D, H, W]."""
        volumes = torch.from_numpy(np.ascontiguousarray(batch, np.float32))
        partners = self._rng.integers(self._real.count, size=len(volumes))
        self._partners += partners.tolist()
        row = volumes if self._before is None else torch.cat([self._before, volumes])
        left = MOST_PAIRS - max(0, self._seen - 1)
        pairs = max(0, min(len(row) - 1, left))
        # Read in sorted order, then restored to the original one.
        order = np.argsort(np.argsort(partners, kind="stable"), kind="stable")
        random = torch.from_numpy(self._real.volumes(partners)[order])
        for name, metric in self._metrics.items():
            if metric.partner == "generated":
                found = _in_chunks(metric, row[:pairs], row[1 : pairs + 1])
            elif metric.partner == "random":
                found = _in_chunks(metric, volumes, random)
            elif metric.partner == "mean":
                found = metric.function(volumes, self._mean)
            else:
                found = from_error(self._nearest_error(volumes))
            self._values[name] += found.tolist()
        self._before, self._seen = volumes[-1:], self._seen + len(volumes)

    def means(self) -> dict[str, float]:
        """Mean of each metric's values."""
        return {name: float(np.mean(values)) for name, values in self._values.items() if values}

    def replicated(self) -> Replicated:
        """The metrics as a function of the weights of generated and real volumes."""
        values = {name: np.array(found) for name, found in self._values.items() if found}
        partners = np.array(self._partners)

        def means(a: Array, b: Array) -> dict[str, float]:
            weights = {"generated": a[:-1] * a[1:], "random": a * b[partners], "nearest": a, "mean": a}
            return {
                name: weighted_mean(found, weights[self._metrics[name].partner][: len(found)])
                for name, found in values.items()
            }

        return means

    def _nearest_error(self, volumes: Tensor) -> Tensor:
        errors = [squared_errors(volumes, torch.from_numpy(real)) for real in self._real.batches()]
        return torch.cat(errors, dim=1).amin(dim=1)


def mean_volume(real: RealSet) -> Tensor:
    """The mean of the real volumes, [1, 1, D, H, W]."""

    def compute() -> Features:
        total = sum(batch.sum(axis=0, keepdims=True, dtype=np.float64) for batch in real.batches())
        return {_MEAN_NAME: np.asarray(total / real.count, np.float32)}

    return torch.from_numpy(real.cache.get(real.key(_MEAN_NAME), (_MEAN_NAME,), compute)[_MEAN_NAME])


def real_pairs(real: RealSet, seed: int = 0) -> tuple[dict[str, float], Replicated]:
    """The metrics among real volumes of different subjects, and as a function of the volumes' weights.

    Args:
        real: The real volumes.
        seed: Seed of the pairing.

    Returns:
        Metrics by name, none if there is only one subject; the same as a function of the weights [m], which
            are passed twice.
    """
    metrics = _that_fit(real.prepared.shape)
    order = np.random.default_rng(seed).permutation(real.count)[: MOST_PAIRS + 1]
    subjects = real.subjects
    pairs = [(i, j) for i, j in zip(order, np.roll(order, -1), strict=True) if subjects[i] != subjects[j]]
    if not pairs:
        return {}, lambda a, b: {}

    def compute() -> Features:
        values: dict[str, list[float]] = {name: [] for name in metrics}
        mean = mean_volume(real)
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            first, second = (
                torch.from_numpy(np.concatenate([real.volumes(np.array([pair[side]])) for pair in chunk]))
                for side in (0, 1)
            )
            # Without the volume itself, which would otherwise be part of its own partner.
            others = (real.count * mean - first) / (real.count - 1)
            for name, metric in metrics.items():
                if metric.partner == "nearest":
                    found = from_error(_nearest_other_error(real, first, [pair[0] for pair in chunk]))
                else:
                    found = metric.function(first, others if metric.partner == "mean" else second)
                values[name] += found.tolist()
        return {name: np.array(found, np.float32) for name, found in values.items()}

    key = real.key("pairs", seed, MOST_PAIRS, *metrics, *subjects)
    stored = real.cache.get(key, tuple(metrics), compute)
    ends = np.array(pairs)

    def means(a: Array, b: Array) -> dict[str, float]:
        return _real_means(stored, metrics, ends, b)

    return means(np.ones(real.count), np.ones(real.count)), means


def weighted_mean(values: NDArray[np.floating], weights: Array) -> float:
    """Weighted mean; the plain mean if all weights are 0 (no pair was drawn together)."""
    return float(np.average(values, weights=weights) if weights.any() else values.mean())


def _real_means(
    values: Features, metrics: Mapping[str, PairMetric], ends: NDArray[np.integer], counts: Array
) -> dict[str, float]:
    alone, together = counts[ends[:, 0]], counts[ends[:, 0]] * counts[ends[:, 1]]
    return {
        name: weighted_mean(values[name], alone if metric.partner in ("nearest", "mean") else together)
        for name, metric in metrics.items()
    }


def _nearest_other_error(real: RealSet, volumes: Tensor, numbers: Sequence[int]) -> Tensor:
    """Squared error to the nearest volume of another subject, [n]."""
    errors = torch.cat([squared_errors(volumes, torch.from_numpy(x)) for x in real.batches()], dim=1)
    subjects = np.array(real.subjects)
    errors[torch.from_numpy(subjects[list(numbers)][:, None] == subjects[None])] = torch.inf
    return errors.amin(dim=1)


def _in_chunks(metric: PairMetric, a: Tensor, b: Tensor) -> Tensor:
    """Metrics of pairs, a few at a time."""
    parts = [
        metric.function(a[start : start + _CHUNK], b[start : start + _CHUNK])
        for start in range(0, len(a), _CHUNK)
    ]
    return torch.cat(parts) if parts else torch.empty(0)


def _that_fit(shape: tuple[int, int, int]) -> dict[str, PairMetric]:
    """The metrics for which volumes of this shape are large enough."""
    fit = {}
    probe = torch.zeros(1, 1, *shape)
    for name, metric in PAIR_METRICS.items():
        try:
            metric.function(probe, probe)
        except VoxflateError:
            continue
        fit[name] = metric
    return fit
