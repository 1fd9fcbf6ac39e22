"""Quick measurements at a run's snapshots: distances, diversity, the floor of the real set.

Every result is a flat dictionary with the metrics and what they depend on: extractor, hash of its
weights, numbers of real and generated samples, seed. A metric named "...-cut" was computed after
`cut_background` on both sides; "-avg" is the mean over the three planes.

Distances are those of the first image channel. Every other channel has its own, with the channel's name after
the extractor's: "frechet-mobilenetv2-t2-avg". Masks are compared by the volumes of their structures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate.data.prepared import PreparedSet
from voxflate.data.views import one_channel
from voxflate.evaluation.distances import compare_features, halvings, heldout_kid
from voxflate.evaluation.real import (
    VIEW_2D,
    VIEW_3D,
    VIEWS,
    Collector,
    Features,
    Images,
    RealSet,
    check_samples,
    plane_views,
)
from voxflate.evaluation.structures import StructureVolumes
from voxflate.metrics import extractor as build_extractor
from voxflate.metrics import nearest_l2, pairwise_l2
from voxflate.metrics.extractors.voxels import VOXELS

Metrics = dict[str, float | int | str]

DIVERSITY, NEAREST = "pairwise-l2", "nearest-l2"
_FLOOR_SPLITS = 10
# Diversity is computed over at most this many volumes, which must be in memory together.
_DIVERSITY_VOLUMES = 256


class Evaluator:
    """Compares generated samples with one prepared data set.

    The features of the real volumes are computed when first needed and cached by content (hash of the set,
    hash of the weights), so that new data never gets old features.

    Args:
        prepared: The real volumes, train and held-out together (the 2D comparison: train only).
        extractor: Name in `EXTRACTORS`, or a file.
        seed: Seed of the floor's splits, of the pairs and of the real slices of the 2D comparison.
        device: Device for computing features.
        cache: Folder for the real features; `cache_folder()` by default.
        min_content: The 2D comparison leaves out real slices with less content, as its training did.
        channel: Index of the image channel; channels after it are measured too.

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
        channel: int = 0,
    ) -> None:
        self._extractor = build_extractor(extractor, device)
        self._real = RealSet(one_channel(prepared, channel), seed, cache, min_content)
        self._prepared = prepared
        self._seed = seed
        self._floors: dict[str, Metrics] = {}
        self._channel = channel
        layout = prepared.layout
        suffix = f"-{layout.channels[channel].name}" if channel else ""
        self._name, self._voxels = self._extractor.name + suffix, VOXELS + suffix
        self._next: Evaluator | None = None
        if channel + 1 < layout.images:
            self._next = Evaluator(prepared, extractor, seed, device, cache, min_content, channel + 1)
        self._structures = StructureVolumes(prepared) if layout.masks and not channel else None

    def measure(self, volumes: Iterable[Images]) -> Metrics:
        """Distances of generated volumes to all real ones, per plane, and their diversity.

        Args:
            volumes: Batches [b, C, D, H, W] in [-1, 1], at least 2 volumes in all; read one after the other.

        Returns:
            "frechet-<extractor>-<ax|sag|cor|avg>" ("fid-..." for Inception) and the same with "-cut"; kid of
            the same planes and, if two volumes are held out, against these alone as
            "kid-<extractor>-heldout-avg";
            "precision-<extractor>-avg" and likewise recall, density and coverage, means over the planes, if
            both sets are large enough; the same for the voxels' principal components, which need no
            network, "frechet-voxels-3d" and so on; "pairwise-l2" and "nearest-l2" (over the first 256
            volumes, all channels), "volume-w1-<structure>" of masks, ml, "n-real", "n-generated",
            "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: If a value is not finite, there are fewer than 2 volumes, or their shape
                differs from the real volumes'.
        """
        kept: list[Images] = []
        structures: list[NDArray[np.float64]] = []
        each = [Collector(one._extractor) for one in self._all()]
        voxels = [Collector(one._real.components) for one in self._all()]
        for batch in volumes:
            check_samples(batch, (len(self._prepared.layout.channels), *self._prepared.shape))
            kept.append(batch[: max(0, _DIVERSITY_VOLUMES - sum(map(len, kept)))])
            if self._structures is not None:
                structures.append(self._structures.of(batch))
            for index in range(len(each)):
                image = batch[:, index : index + 1]
                each[index].add(plane_views(image))
                voxels[index].add({VIEW_3D: image})
        metrics: Metrics = {}
        for one, planes, whole in zip(self._all(), each, voxels, strict=True):
            metrics |= one._compare(planes.features(), whole.features())
        if self._structures is not None:
            metrics |= self._structures.distances(np.concatenate(structures))
        metrics |= self._diversity(np.concatenate(kept))
        return metrics | self._provenance(self._real.count, each[0].count)

    def _all(self) -> list[Evaluator]:
        """The evaluators of all image channels, this one first."""
        return [self, *(self._next._all() if self._next else [])]

    def _compare(self, planes: Features, whole: Features) -> Metrics:
        """Distances of the generated features of this channel."""
        real = self._real.plane_features(self._extractor)
        return {
            **compare_features(self._name, planes, real),
            **heldout_kid(self._name, planes, real, self._real.n_train),
            **compare_features(self._voxels, whole, self._real.volume_features(self._real.components)),
        }

    def measure_2d(self, images: Iterable[Images]) -> Metrics:
        """Distance of generated images to axial slices of the training volumes.

        Args:
            images: Batches [b, C, H, W] in [-1, 1], at least 2 images in all.

        Returns:
            "frechet-<extractor>-2d", likewise kid, precision, recall, density and coverage, "n-real" (at
            most 1000 slices, drawn with the seed), "n-generated", "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: As for `measure`.
        """
        each = [Collector(one._extractor) for one in self._all()]
        for batch in images:
            check_samples(batch, (len(self._prepared.layout.channels), *self._prepared.shape[1:]))
            for index, collector in enumerate(each):
                collector.add({VIEW_2D: batch[:, index : index + 1]})
        metrics: Metrics = {}
        for one, collected in zip(self._all(), each, strict=True):
            real = one._real.slice_features(one._extractor)
            metrics |= compare_features(one._name, collected.features(), real)
        return metrics | self._provenance(len(real[VIEW_2D]), each[0].count)

    def real_floor(self) -> Metrics:
        """The floor of `measure`: one half of the real set against the other, mean of 10 random halvings.

        Returns:
            The keys of `measure`, with the sizes of the halves as "n-real" and "n-generated", the diversity
            of the real set as "pairwise-l2" and "nearest-l2", and "splits", the number of halvings. A half
            has fewer samples than the set, which raises the metrics, so generated volumes can be slightly
            below the floor.
        """
        if "3d" not in self._floors:
            real = self._real.plane_features(self._extractor)
            floor = self._floor({view: real[view] for view in VIEWS}, self._real.subjects)
            voxels = self._real.volume_features(self._real.components)
            floor = self._floor(voxels, self._real.subjects, self._voxels) | floor
            if self._next is not None:
                floor = self._next.real_floor() | floor
            if self._structures is not None:
                floor |= self._structures.floor(_FLOOR_SPLITS, self._seed)
            self._floors["3d"] = floor | self._real_diversity()
        return self._floors["3d"]

    def real_floor_2d(self) -> Metrics:
        """The floor of `measure_2d`: one half of its real slices against the other, mean of 10 halvings."""
        if VIEW_2D not in self._floors:
            real = self._real.slice_features(self._extractor)
            slices = [str(number) for number in range(len(real[VIEW_2D]))]
            floor = self._floor(real, slices)
            self._floors[VIEW_2D] = (self._next.real_floor_2d() if self._next else {}) | floor
        return self._floors[VIEW_2D]

    def _floor(self, real: Features, subjects: list[str], name: str | None = None) -> Metrics:
        rounds = halvings(name or self._name, real, subjects, _FLOOR_SPLITS, self._seed)
        metrics: Metrics = {
            key: float(np.mean([metrics[key] for metrics in rounds])) for key in (rounds or [{}])[0]
        }
        n = len(subjects)
        return metrics | self._provenance(n - n // 2, n // 2) | {"splits": _FLOOR_SPLITS}

    def _diversity(self, volumes: Images) -> Metrics:
        return {DIVERSITY: pairwise_l2(volumes, seed=self._seed), NEAREST: nearest_l2(volumes)}

    def _real_diversity(self) -> Metrics:
        def compute() -> Features:
            chosen = np.random.default_rng(self._seed).permutation(self._real.count)[:_DIVERSITY_VOLUMES]
            values = self._diversity(RealSet(self._prepared).volumes(chosen))
            return {name: np.array([value], np.float32) for name, value in values.items()}

        names = (DIVERSITY, NEAREST)
        key = RealSet(self._prepared).key("-".join(names), self._seed)
        return {name: float(value[0]) for name, value in self._real.cache.get(key, names, compute).items()}

    def _provenance(self, n_real: int, n_generated: int) -> Metrics:
        return {
            "n-real": n_real,
            "n-generated": n_generated,
            "extractor": self._extractor.name,
            "weights-sha256": self._extractor.weights_sha256,
            "seed": self._seed,
        }
