"""Quick measurements at a run's snapshots: distances, diversity, the floor of the real set.

Every result is a flat dictionary with the metrics and what they depend on: extractor, hash of its
weights, numbers of real and generated samples, seed. A metric named "...-cut" was computed after
`cut_background` on both sides; "-avg" is the mean over the three planes.

Distances are those of the first image channel. Every other channel has its own, with the channel's name after
the extractor's: "frechet-mobilenetv2-t2-avg". Masks are compared by the volumes of their structures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.evaluation.distances import compare_features, half_sizes, halvings, heldout_kid, means
from voxflate.evaluation.modalities import Modality, modalities_of
from voxflate.evaluation.real import (
    VIEW_2D,
    VIEW_3D,
    Collector,
    Features,
    Images,
    RealSet,
    checked_samples,
    plane_views,
)
from voxflate.evaluation.structures import StructureVolumes
from voxflate.metrics import extractor as build_extractor
from voxflate.metrics import nearest_l2, pairwise_l2
from voxflate.metrics.extractors.base import Extractor

Metrics = dict[str, float | int | str]

DIVERSITY, NEAREST = "pairwise-l2", "nearest-l2"
FLOOR_SPLITS = 10
"""Number of random halvings of the real set for the floor."""

# Diversity is computed over at most this many volumes, which must be in memory together.
_DIVERSITY_VOLUMES = 256


class Evaluator:
    """Compares generated samples with one prepared data set.

    The features of the real volumes are computed when first needed and cached by content (hash of the set,
    hash of the weights), so that new data never gets old features.

    Args:
        prepared: The real volumes, train and held-out together (the 2D comparison: train only).
        extractor: Name in `EXTRACTORS`, or a file.
        seed: Seed of the floor's splits, of the pairs, of the real slices of the 2D comparison and of the
            volumes for the principal components.
        device: Device for computing features.
        cache: Folder for the real features; `cache_folder()` by default.
        min_content: The 2D comparison leaves out real slices with less content, as its training did.

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
        images = prepared.layout.images
        self._modalities = modalities_of(prepared, images, [self._extractor], None, seed, cache, min_content)
        self._real = self._modalities[0].real
        self._prepared = prepared
        self._seed = seed
        self._floors: dict[str, Metrics] = {}
        self._structures = StructureVolumes(prepared) if prepared.layout.masks else None

    def measure(self, volumes: Iterable[Images]) -> Metrics:
        """Distances of generated volumes to all real ones, per plane, and their diversity.

        Args:
            volumes: Batches [b, C, D, H, W], at least 2 volumes in all, read one after the other; images are
                clipped to [-1, 1].

        Returns:
            "frechet-<extractor>-<ax|sag|cor|avg>" ("fid-..." for Inception) and the same with "-cut"; the
            KID of the same planes and, if at least two people are held out, against the held-out volumes only
            as "kid-<extractor>-heldout-avg";
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
        planes = [Collector(self._extractor) for _ in self._modalities]
        whole = [Collector(modality.real.components) for modality in self._modalities]
        for batch in self._checked(volumes, self._prepared.shape):
            kept.append(batch[: max(0, _DIVERSITY_VOLUMES - sum(map(len, kept)))])
            if self._structures is not None:
                structures.append(self._structures.of(batch))
            for index in range(len(planes)):
                image = batch[:, index : index + 1]
                planes[index].add(plane_views(image))
                whole[index].add({VIEW_3D: image})
        metrics: Metrics = {}
        for modality, slices, voxels in zip(self._modalities, planes, whole, strict=True):
            metrics |= self._compare(modality, slices.features(), voxels.features())
        if self._structures is not None:
            metrics |= self._structures.distances(np.concatenate(structures))
        metrics |= self._diversity(np.concatenate(kept))
        return metrics | self._provenance(self._real.count, planes[0].count)

    def _checked(self, batches: Iterable[Images], shape: tuple[int, ...]) -> Iterator[Images]:
        layout = self._prepared.layout
        for batch in batches:
            yield checked_samples(batch, (len(layout.channels), *shape), layout.images)

    def _compare(self, modality: Modality, planes: Features, whole: Features) -> Metrics:
        """Distances of the generated features of an image channel."""
        real, name = modality.real, modality.name(self._extractor)
        real_planes, owners = real.plane_features(self._extractor), (None, real.subjects)
        voxels = modality.name(real.components), whole, real.volume_features(real.components)
        return {
            **compare_features(name, planes, real_planes, owners=owners),
            **heldout_kid(name, planes, real_planes, real.n_train, owners=owners),
            **compare_features(*voxels, owners=owners, fitted=True),
        }

    def measure_2d(self, images: Iterable[Images]) -> Metrics:
        """Distance of generated images to axial slices of the training volumes.

        Args:
            images: Batches [b, C, H, W], at least 2 images in all; clipped to [-1, 1].

        Returns:
            "frechet-<extractor>-2d", likewise kid, precision, recall, density and coverage, "n-real" (at
            most 1000 slices, drawn with the seed), "n-generated", "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: As for `measure`.
        """
        each = [Collector(self._extractor) for _ in self._modalities]
        for batch in self._checked(images, self._prepared.shape[1:]):
            for index, collector in enumerate(each):
                collector.add({VIEW_2D: batch[:, index : index + 1]})
        metrics: Metrics = {}
        for modality, collected in zip(self._modalities, each, strict=True):
            real = modality.real.slice_features(self._extractor)
            name, owners = modality.name(self._extractor), (None, modality.real.slice_subjects)
            metrics |= compare_features(name, collected.features(), real, owners=owners)
        return metrics | self._provenance(len(real[VIEW_2D]), each[0].count)

    def real_floor(self) -> Metrics:
        """The floor of `measure`: one half of the real set against the other, mean of 10 random halvings.

        Returns:
            The keys of `measure`, with the mean sizes of the halves as "n-real" and "n-generated", the
            diversity of the real set as "pairwise-l2" and "nearest-l2", and "splits", the number of halvings.
            A half has fewer samples than the set, which raises the metrics, so generated volumes can be
            slightly below the floor.
        """
        if VIEW_3D not in self._floors:
            floor: Metrics = {}
            for modality in self._modalities:
                real, subjects = modality.real, modality.real.subjects
                planes, whole = real.plane_features(self._extractor), real.volume_features(real.components)
                floor |= self._floor(modality, self._extractor, planes, subjects)
                floor |= self._floor(modality, real.components, whole, subjects)
            if self._structures is not None:
                floor |= self._structures.floor(FLOOR_SPLITS, self._seed)
            floor |= self._real_diversity()
            self._floors[VIEW_3D] = floor | self._halves(self._real.subjects)
        return self._floors[VIEW_3D]

    def real_floor_2d(self) -> Metrics:
        """The floor of `measure_2d`: slices of one half of the people against the other half, as above."""
        if VIEW_2D not in self._floors:
            floor: Metrics = {}
            for modality in self._modalities:
                real = modality.real.slice_features(self._extractor)
                floor |= self._floor(modality, self._extractor, real, modality.real.slice_subjects)
            self._floors[VIEW_2D] = floor | self._halves(self._real.slice_subjects)
        return self._floors[VIEW_2D]

    def _floor(
        self, modality: Modality, extractor: Extractor, real: Features, owners: Sequence[str]
    ) -> dict[str, float]:
        name, refit = modality.name(extractor), modality.refit(extractor)
        return means(halvings(name, real, owners, FLOOR_SPLITS, self._seed, refit=refit))

    def _halves(self, owners: Sequence[str]) -> Metrics:
        sizes = half_sizes(owners, FLOOR_SPLITS, self._seed)
        return self._provenance(sizes["n-real"], sizes["n-generated"]) | {"splits": FLOOR_SPLITS}

    def _diversity(self, volumes: Images, owners: Sequence[str] | None = None) -> Metrics:
        return {DIVERSITY: pairwise_l2(volumes, seed=self._seed), NEAREST: nearest_l2(volumes, owners)}

    def _real_diversity(self) -> Metrics:
        chosen = np.random.default_rng(self._seed).permutation(self._real.count)[:_DIVERSITY_VOLUMES]
        subjects = [self._real.subjects[number] for number in np.sort(chosen)]
        owners = subjects if len(set(subjects)) > 1 else None

        def compute() -> Features:
            values = self._diversity(RealSet(self._prepared).volumes(chosen), owners)
            return {name: np.array([value], np.float32) for name, value in values.items()}

        names = (DIVERSITY, NEAREST)
        key = RealSet(self._prepared).key("-".join(names), self._seed, *subjects)
        return {name: float(value[0]) for name, value in self._real.cache.get(key, names, compute).items()}

    def _provenance(self, n_real: int, n_generated: int) -> Metrics:
        return {
            "measurement": MEASUREMENT,
            "n-real": n_real,
            "n-generated": n_generated,
            "extractor": self._extractor.name,
            "weights-sha256": self._extractor.weights_sha256,
            "seed": self._seed,
        }
