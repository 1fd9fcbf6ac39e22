"""Compares the volumes of structures in masks: are generated ones as large and as varied as real ones?"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxflate.data.channels import mask_classes
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.distances import halves, means
from voxflate.evaluation.real import Images, RealSet
from voxflate.metrics.wasserstein import wasserstein_1

METRIC = "volume-w1"
"""Prefix of the Wasserstein-1 distance of the volumes, ml; the structure's name follows."""

Array = NDArray[np.float64]


class StructureVolumes:
    """Compares the volumes of structures, generated with real.

    Args:
        prepared: A set with masks.
    """

    def __init__(self, prepared: PreparedSet) -> None:
        self._prepared = prepared
        self._names = [channel.name for channel in prepared.layout.channels if channel.kind == "mask"]
        self._millilitres = float(np.prod(prepared.spacing)) / 1000

    def of(self, volumes: Images) -> Array:
        """Volume of every structure, ml: [n, C, D, H, W] -> [n, structures]."""
        classes = mask_classes(volumes, self._prepared.layout)
        counts = [(classes == number + 1).sum((1, 2, 3)) for number in range(len(self._names))]
        return np.stack(counts, axis=1) * self._millilitres

    def distances(self, generated: Array) -> dict[str, float]:
        """Distance of generated volumes [n, structures] to all real ones, "volume-w1-<structure>" -> ml."""
        return self._between(generated, self._real)

    def floor(self, splits: int, seed: int) -> dict[str, float]:
        """The floor: one half of the real subjects against the other, mean of random halvings.

        Empty if all real volumes come from one subject.
        """
        subjects = RealSet(self._prepared).subjects
        if len(set(subjects)) < 2:
            return {}
        return means([self._between(self._real[x], self._real[~x]) for x in halves(subjects, splits, seed)])

    @cached_property
    def _real(self) -> Array:
        return np.concatenate([self.of(batch) for batch in RealSet(self._prepared).batches()])

    def _between(self, a: Array, b: Array) -> dict[str, float]:
        return {
            f"{METRIC}-{name}": wasserstein_1(a[:, index], b[:, index])
            for index, name in enumerate(self._names)
        }
