"""Quick measurements at the snapshots of a training: distances, diversity, the floor of the real set.

Every result is a flat dictionary whose metrics stand beside what they depend on: extractor, hash of its
weights, numbers of real and generated samples, seed. A metric named "...-cut" was taken after
`cut_background` on both sides; "-avg" is the mean of the three planes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.comparison import compare_features, halvings, heldout_kid
from voxflate.evaluation.real import (
    VIEW_2D,
    VIEW_3D,
    VIEWS,
    Features,
    Images,
    RealSet,
    check_samples,
    collect,
    plane_views,
)
from voxflate.metrics import extractor as build_extractor
from voxflate.metrics import pairwise_l2
from voxflate.metrics.extractors.voxels import VOXELS

Metrics = dict[str, float | int | str]

DIVERSITY = "pairwise-l2"
_FLOOR_SPLITS = 10
# Diversity is taken over at most this many volumes, which have to be in memory together.
_DIVERSITY_VOLUMES = 256


class Evaluator:
    """Compares generated samples with one prepared data set.

    The features of the real volumes are computed when first needed and kept in a cache that goes by
    content (the set's hash, the weights' hash), so that new data never meets old features.

    Args:
        prepared: The real volumes, train and held-out together (the 2D comparison: train only).
        extractor: Name in `EXTRACTORS`, or a file.
        seed: Seed of the floor's splits, of the pairs and of the real slices of the 2D comparison.
        device: Where features are computed.
        cache: Folder for the real features; `cache_folder()` by default.
        min_content: The 2D comparison leaves out real slices that show less, as its training did.

    Raises:
        VoxflateError: If the extractor is unknown, its weights are missing, or there are fewer than 4 real
            volumes.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        extractor: str = "mobilenetv2",
        seed: int = 0,
        device: str | torch.device = "cpu",
        cache: Path | None = None,
        min_content: float = 0.0,
    ) -> None:
        self._extractor = build_extractor(extractor, device)
        self._real = RealSet(prepared, seed, cache, min_content)
        self._prepared = prepared
        self._seed = seed
        self._floors: dict[str, Metrics] = {}

    def measure(self, volumes: Iterable[Images]) -> Metrics:
        """Distances of generated volumes to all real ones, per plane, and their diversity.

        Args:
            volumes: Batches [b, 1, D, H, W] in [-1, 1], at least 2 volumes in all; taken one after the other.

        Returns:
            "frechet-<extractor>-<ax|sag|cor|avg>" ("fid-..." for Inception) and the same with "-cut";
            kid of the same planes and, against the held-out volumes alone if there are two,
            "kid-<extractor>-heldout-avg";
            "precision-<extractor>-avg" and the same of recall, density and coverage, means of the planes, if
            both sets are large enough; the same of the voxels' principal components, which no network has
            seen, "frechet-voxels-3d" and so on; "pairwise-l2" (over the first 256 volumes), "n-real",
            "n-generated", "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: If a value is not finite, there are fewer than 2 volumes, or their shape is
                not the real volumes' shape.
        """
        kept: list[Images] = []
        voxels: list[NDArray[np.float32]] = []
        components = self._real.components

        def checked() -> Iterator[Images]:
            for batch in volumes:
                check_samples(batch, (1, *self._prepared.shape))
                kept.append(batch[: max(0, _DIVERSITY_VOLUMES - sum(map(len, kept)))])
                voxels.append(components(torch.from_numpy(batch)).numpy())
                yield batch

        generated = collect(checked(), plane_views, self._extractor)
        real = self._real.plane_features(self._extractor)
        real_voxels = self._real.volume_features(components)
        metrics: Metrics = {
            **compare_features(self._extractor.name, generated, real),
            **heldout_kid(self._extractor.name, generated, real, self._real.n_train),
            **compare_features(VOXELS, {VIEW_3D: np.concatenate(voxels)}, real_voxels),
            DIVERSITY: pairwise_l2(np.concatenate(kept), seed=self._seed),
        }
        return metrics | self._provenance(len(real["ax"]), len(generated["ax"]))

    def measure_2d(self, images: Iterable[Images]) -> Metrics:
        """Distance of generated images to axial slices of the training volumes.

        Args:
            images: Batches [b, 1, H, W] in [-1, 1], at least 2 images in all.

        Returns:
            "frechet-<extractor>-2d", the same of kid, precision, recall, density and coverage, "n-real" (at
            most 1000 slices, drawn with the seed), "n-generated", "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: As for `measure`.
        """

        def checked() -> Iterator[Images]:
            for batch in images:
                check_samples(batch, (1, *self._prepared.shape[1:]))
                yield batch

        generated = collect(checked(), lambda batch: {VIEW_2D: batch}, self._extractor)
        real = self._real.slice_features(self._extractor)
        metrics = compare_features(self._extractor.name, generated, real)
        return {**metrics, **self._provenance(len(real[VIEW_2D]), len(generated[VIEW_2D]))}

    def real_floor(self) -> Metrics:
        """What real volumes reach: one half of the real set against the other, mean of 10 random halvings.

        Returns:
            The keys of `measure`, with the sizes of the halves as "n-real" and "n-generated", the diversity
            of the real set as "pairwise-l2", and "splits", the number of halvings. A half has fewer samples
            than the set, which raises the metric: generated volumes can come out slightly below it.
        """
        if "3d" not in self._floors:
            real = self._real.plane_features(self._extractor)
            floor = self._floor({view: real[view] for view in VIEWS}, self._real.subjects)
            voxels = self._real.volume_features(self._real.components)
            floor = self._floor(voxels, self._real.subjects, VOXELS) | floor
            self._floors["3d"] = floor | {DIVERSITY: self._real_diversity()}
        return self._floors["3d"]

    def real_floor_2d(self) -> Metrics:
        """The floor of `measure_2d`: one half of its real slices against the other, mean of 10 halvings."""
        if VIEW_2D not in self._floors:
            real = self._real.slice_features(self._extractor)
            slices = [str(number) for number in range(len(real[VIEW_2D]))]
            self._floors[VIEW_2D] = self._floor(real, slices)
        return self._floors[VIEW_2D]

    def _floor(self, real: Features, subjects: list[str], name: str | None = None) -> Metrics:
        rounds = halvings(name or self._extractor.name, real, subjects, _FLOOR_SPLITS, self._seed)
        metrics: Metrics = {
            key: float(np.mean([metrics[key] for metrics in rounds])) for key in (rounds or [{}])[0]
        }
        n = len(subjects)
        return metrics | self._provenance(n - n // 2, n // 2) | {"splits": _FLOOR_SPLITS}

    def _real_diversity(self) -> float:
        def compute() -> Features:
            chosen = np.random.default_rng(self._seed).permutation(self._real.count)[:_DIVERSITY_VOLUMES]
            value = pairwise_l2(self._real.volumes(chosen), seed=self._seed)
            return {DIVERSITY: np.array([value], np.float32)}

        key = self._real.key(DIVERSITY, self._seed)
        return float(self._real.cache.get(key, (DIVERSITY,), compute)[DIVERSITY][0])

    def _provenance(self, n_real: int, n_generated: int) -> Metrics:
        return {
            "n-real": n_real,
            "n-generated": n_generated,
            "extractor": self._extractor.name,
            "weights-sha256": self._extractor.weights_sha256,
            "seed": self._seed,
        }
