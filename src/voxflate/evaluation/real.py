"""The real volumes that generated ones are compared with, and their features, cached by content."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelValue
from voxflate.data.datasets import slices_with_content
from voxflate.data.prepared import SPLITS, PreparedSet
from voxflate.metrics import FeatureExtractor, cut_background, plane_slices
from voxflate.metrics.extractors.base import VolumeExtractor
from voxflate.metrics.extractors.cache import ArrayCache, cache_folder
from voxflate.metrics.extractors.voxels import FITTED, VoxelComponents, coordinates, principal_components
from voxflate.metrics.planes import PLANES

Images = NDArray[np.float32]
Features = dict[str, NDArray[np.float32]]  # view name ("ax", "ax-cut", ...) -> [n, f]
Extract = Callable[[torch.Tensor], torch.Tensor]

VIEW_2D, VIEW_3D = "2d", "3d"
VIEWS = (*PLANES, *(f"{plane}-cut" for plane in PLANES))
# Part of the cache key: raise it when the features of the same volumes change.
_VERSION = 4
_BATCH = 32
# Each half of the floor needs a covariance, and so at least two volumes.
_FEWEST = 4
_SLICES_2D = 1000
_SAMPLES_2D, _MOST_SAMPLES = 192, 1000


def equal_number(prepared: PreparedSet, phase: str) -> int:
    """The default number of samples: the number of real volumes, at most 1,000; 192 slices in 2D.

    Frechet distances and coverage depend on both numbers, and equal numbers favour neither side (decision
    0140).
    """
    if phase == "2d":
        return _SAMPLES_2D
    return min(sum(len(prepared.stored(split)) for split in SPLITS), _MOST_SAMPLES)


class RealSet:
    """The volumes of a prepared set, train followed by held-out.

    Args:
        prepared: The set.
        seed: Seed for choosing slices of the 2D comparison, and the volumes for the principal components.
        cache: Folder for the features; `cache_folder()` by default.
        min_content: The 2D comparison leaves out slices with less content, as its training did.
        slices_of: The set of the first image, whose content decides about slices; None for that set itself.

    Raises:
        VoxflateError: If there are fewer than 4 volumes.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        seed: int = 0,
        cache: Path | None = None,
        min_content: float = 0.0,
        slices_of: RealSet | None = None,
    ) -> None:
        self.prepared = prepared
        self.n_train, n_heldout = (len(prepared.stored(split)) for split in SPLITS)
        self.count = self.n_train + n_heldout
        if self.count < _FEWEST:
            raise VoxflateError(
                f"{prepared.root}: {self.count} real volumes are too few for an evaluation, it needs at "
                f"least {_FEWEST}; add volumes, or train with --set evaluation.every=0"
            )
        self._seed = seed
        self._min_content = min_content
        self._slices_of = slices_of or self
        self.cache = ArrayCache(cache or cache_folder())

    @cached_property
    def subjects(self) -> list[str]:
        """Subject of each volume."""
        scans = self.prepared.manifest.scans
        return [scan.subject for split in SPLITS for scan in scans if scan.split == split]

    @cached_property
    def labels(self) -> list[dict[str, LabelValue]]:
        """Labels of each volume's subject, a value per label column."""
        scans = self.prepared.manifest.scans
        return [scan.labels for split in SPLITS for scan in scans if scan.split == split]

    def volumes(self, indices: NDArray[np.integer]) -> Images:
        """Some of the volumes in ascending order, [n, C, D, H, W]; only these are read from disk."""
        indices = np.sort(indices)
        train, heldout = indices[indices < self.n_train], indices[indices >= self.n_train] - self.n_train
        parts = [self.prepared.volumes("train", train), self.prepared.volumes("heldout", heldout)]
        return np.concatenate(parts)

    def batches(self, count: int | None = None) -> Iterable[Images]:
        """All volumes (or the first `count`), a few at a time."""
        end = self.count if count is None else count
        for start in range(0, end, _BATCH):
            yield self.volumes(np.arange(start, min(start + _BATCH, end)))

    def plane_features(self, extractor: FeatureExtractor, slices: int = 1) -> Features:
        """Features of the volumes' slices by view, [count x slices, f]."""

        def compute() -> Features:
            return collect(self.batches(), lambda batch: plane_views(batch, slices), extractor)

        return self.cache.get(self.key("volumes", slices, *_network(extractor)), VIEWS, compute)

    def volume_features(self, extractor: VolumeExtractor) -> Features:
        """Features of whole volumes, {"3d": [count, f]}."""

        def compute() -> Features:
            return collect(self.batches(), lambda batch: {VIEW_3D: batch}, extractor)

        if isinstance(extractor, VoxelComponents) and extractor is self.components:
            return {VIEW_3D: self._fitted[VIEW_3D]}
        return self.cache.get(self.key("whole", *_network(extractor)), (VIEW_3D,), compute)

    @cached_property
    def components(self) -> VoxelComponents:
        """Principal components of the voxels, from all volumes or a random part of them."""
        return self._components(self._fitted)

    def refitted(self, chosen: NDArray[np.bool_]) -> Features:
        """Coordinates of all volumes in the principal components of the chosen ones, {"3d": [count, k]}."""
        order = self._order
        return {VIEW_3D: coordinates(self._products, np.sort(order[chosen[order]][:FITTED]))}

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        """The volumes in the order in which they are chosen for principal components."""
        return np.random.default_rng(self._seed).permutation(self.count)

    @cached_property
    def _fitted(self) -> Features:
        """The principal components, and the volumes' coordinates in them.

        They are cached together: coordinates in other axes, of another seed, must never be compared.
        """

        def compute() -> Features:
            mean, axes = principal_components(self.volumes(self._order[:FITTED]))
            found = {"mean": mean, "axes": axes}
            return found | collect(self.batches(), lambda batch: {VIEW_3D: batch}, self._components(found))

        return self.cache.get(self.key("components", self._seed), ("mean", "axes", VIEW_3D), compute)

    def _components(self, fitted: Features) -> VoxelComponents:
        return VoxelComponents(fitted["mean"], fitted["axes"], self.prepared.content_hash)

    @cached_property
    def _products(self) -> NDArray[np.float32]:
        """Inner products of the volumes' differences from the mean of the first few, [count, count]."""

        def compute() -> Features:
            centre = _flat(self.volumes(np.arange(min(self.count, _BATCH)))).mean(axis=0)

            def row(start: int) -> NDArray[np.float32]:
                these = _flat(self.volumes(np.arange(start, min(start + FITTED, self.count)))) - centre
                return np.concatenate([these @ (_flat(batch) - centre).T for batch in self.batches()], axis=1)

            return {"products": np.concatenate([row(start) for start in range(0, self.count, FITTED)])}

        return self.cache.get(self.key("products"), ("products",), compute)["products"]

    def slice_features(self, extractor: FeatureExtractor) -> Features:
        """Features of random axial slices of the training volumes, {"2d": [at most 1000, f]}."""

        def compute() -> Features:
            depth = self.prepared.shape[0]
            volumes = (
                self.prepared.volumes("train", [index // depth])[:, :, index % depth]
                for index in self._chosen_slices
            )
            return collect([np.concatenate(list(volumes))], lambda batch: {VIEW_2D: batch}, extractor)

        chosen = self._min_content, self._slices_of.prepared.content_hash, self.n_train, self._seed
        key = self.key("slices", *chosen, *_network(extractor))
        return self.cache.get(key, (VIEW_2D,), compute)

    @cached_property
    def slice_subjects(self) -> list[str]:
        """Subject of each slice of `slice_features`."""
        depth = self.prepared.shape[0]
        return [self.subjects[index // depth] for index in self._chosen_slices]

    @cached_property
    def _chosen_slices(self) -> NDArray[np.integer]:
        """Random axial slices of the training volumes, numbered through all of them."""
        if self._slices_of is not self:
            return self._slices_of._chosen_slices
        kept = slices_with_content(self.prepared.stored("train"), self._min_content)
        return np.random.default_rng(self._seed).permutation(kept)[:_SLICES_2D]

    def key(self, *what: object) -> tuple[object, ...]:
        """A cache key for something that depends on the volumes and on `what`."""
        return (_VERSION, *what, self.prepared.content_hash)


def _flat(volumes: Images) -> Images:
    """[n, C, D, H, W] -> [n, v]."""
    return volumes.reshape(len(volumes), -1)


def plane_views(volumes: Images, slices: int = 1) -> dict[str, Images]:
    """[b, 1, D, H, W] -> slices of the three planes, unchanged and with the background cut."""
    found = plane_slices(volumes, slices)
    return found | {f"{plane}-cut": cut_background(images) for plane, images in found.items()}


def collect(
    batches: Iterable[Images], views: Callable[[Images], dict[str, Images]], features_of: Extract
) -> Features:
    """Features of every view of every batch.

    Raises:
        VoxflateError: If there are fewer than two samples.
    """
    collector = Collector(features_of)
    for batch in batches:
        collector.add(views(batch))
    return collector.features()


class Collector:
    """Collects the features of batches, view by view.

    Args:
        features_of: Computes the features of images or volumes.
    """

    def __init__(self, features_of: Extract) -> None:
        self._features_of = features_of
        self._parts: dict[str, list[NDArray[np.float32]]] = {}

    def add(self, views: dict[str, Images]) -> None:
        """Add the next batch in every view."""
        for view, images in views.items():
            tensor = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
            self._parts.setdefault(view, []).append(self._features_of(tensor).numpy())

    @property
    def count(self) -> int:
        """Samples taken."""
        return sum(len(part) for part in next(iter(self._parts.values()), []))

    def features(self) -> Features:
        """Features of every view.

        Raises:
            VoxflateError: If there are fewer than two samples.
        """
        if self.count < 2:
            raise VoxflateError(
                f"evaluation needs at least 2 samples, got {self.count}; raise evaluation.samples"
            )
        return {view: np.concatenate(parts) for view, parts in self._parts.items()}


def standardised(generated: Features, real: Features) -> tuple[Features, Features]:
    """Scale features by the real set's deviations, so that none dominates because of its unit.

    A feature that is equal for all real volumes is not scaled.
    """
    scales = {view: features.std(axis=0, dtype=np.float64) for view, features in real.items()}
    scales = {view: np.where(scale > 0, scale, 1.0) for view, scale in scales.items()}
    return tuple(
        {view: (features / scales[view]).astype(np.float32) for view, features in each.items()}
        for each in (generated, real)
    )  # type: ignore[return-value]


def checked_samples(batch: Images, shape: tuple[int, ...], images: int) -> Images:
    """Samples as they are measured: like files of them, images are clipped to [-1, 1] (decision 0205).

    Args:
        batch: [b, C, *spatial].
        shape: Shape of one real volume or image, [C, *spatial].
        images: Number of channels that are images; those after them, the classes of a mask, are not clipped.

    Raises:
        VoxflateError: If the shape is not [b, *shape], or a value is NaN or infinite.
    """
    if batch.shape[1:] != shape:
        raise VoxflateError(
            f"samples have the shape {list(batch.shape[1:])}, the real ones {list(shape)}; "
            "evaluate against the data set that the run was trained on"
        )
    if not np.isfinite(batch).all():
        raise VoxflateError(
            "samples have NaN or infinite values; training has diverged: go back to an earlier "
            "snapshot or lower the learning rates"
        )
    clipped: Images = np.concatenate([batch[:, :images].clip(-1, 1), batch[:, images:]], axis=1)
    return clipped


def _network(extractor: FeatureExtractor | VolumeExtractor) -> tuple[object, ...]:
    return extractor.name, extractor.weights_sha256, extractor.side
