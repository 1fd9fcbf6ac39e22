"""The whole evaluation of one set of generated samples, in one pass over them.

Distances are computed for every image channel; from the second one on, its name follows the extractor's.
Metrics of pairs use the first channel. Masks are compared by the volumes of their structures.

Volumes stream by and are not kept: only a few kilobytes of features per volume, a few volumes for
pictures, and one value per pair.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation.assessment import MEASUREMENT, Assessment
from voxflate.evaluation.caveats import warnings_of
from voxflate.evaluation.classes import Labels, class_distances
from voxflate.evaluation.collected import Collected
from voxflate.evaluation.distances import half_sizes
from voxflate.evaluation.modalities import Modality, modalities_of
from voxflate.evaluation.pairs import PairBank, real_pairs
from voxflate.evaluation.real import (
    VIEW_2D,
    VIEW_3D,
    Features,
    Images,
    RealSet,
    checked_samples,
    plane_views,
    standardised,
)
from voxflate.evaluation.statistics import HALVINGS, Statistics
from voxflate.evaluation.structures import StructureVolumes
from voxflate.metrics import FeatureExtractor
from voxflate.metrics import extractor as build_extractor
from voxflate.metrics.extractors.base import VolumeExtractor
from voxflate.metrics.extractors.table import VOLUME_EXTRACTORS
from voxflate.metrics.ssim import levels_and_kernel

REPLICATES = 200
KEPT = 8
"""Number of volumes kept for pictures: the first ones."""

_BRAIN_RECIPE = "adni"
_CONSTANT = 1e-4  # a volume with a smaller standard deviation is empty


@dataclass(frozen=True)
class SuiteSettings:
    """What to measure, and how.

    Attributes:
        extractors: Names or files of 2D feature networks; the first one is the main one.
        volume_extractor: Name of a 3D one, "none", or "auto": deepbet for brains (recipe adni).
        slices: Slices per plane.
        replicates: Bootstrap replicates; 0 leaves out the intervals.
        seed: Seed of halvings, replicates, pairs and real slices. It also chooses the real volumes for the
            voxels' principal components if there are more than 512.
        device: Device for computing features.
    """

    extractors: Sequence[str] = ("mobilenetv2",)
    volume_extractor: str = "auto"
    slices: int = 1
    replicates: int = REPLICATES
    seed: int = 0
    device: str | torch.device = "cpu"


class Suite:
    """Measures sets of generated samples against one prepared set.

    Args:
        prepared: The real volumes.
        settings: What to measure.
        cache: Folder for the real features; `cache_folder()` by default.
        min_content: The 2D comparison leaves out real slices with less content.
        first_image_only: Whether samples have only the first image channel, even if the set has more.

    Raises:
        VoxflateError: If an extractor is unknown or given twice, slices are too many, weights are missing, or
            the real volumes are fewer than 4.
    """

    def __init__(
        self,
        prepared: PreparedSet,
        settings: SuiteSettings | None = None,
        cache: Path | None = None,
        min_content: float = 0.0,
        *,
        first_image_only: bool = False,
    ) -> None:
        self.settings = settings or SuiteSettings()
        if not 1 <= self.settings.slices <= min(prepared.shape):
            limits = f"at least 1 and at most {min(prepared.shape)}, the shortest axis of {prepared.root}"
            raise VoxflateError(f"slices per plane must be {limits}; got {self.settings.slices}")
        layout = prepared.layout
        self._channels = 1 if first_image_only else len(layout.channels)
        self._prepared = prepared
        self._extractors = [build_extractor(name, self.settings.device) for name in self.settings.extractors]
        names = [each.name for each in self._extractors]
        if again := [name for name in names if names.count(name) > 1]:
            raise VoxflateError(f"extractor {again[0]}: is given twice; name each feature network once")
        self._unmeasured: list[str] = []  # of whole volumes
        self._modalities = modalities_of(
            prepared,
            1 if first_image_only else layout.images,
            self._extractors,
            self._build_volume_extractor(),
            self.settings.seed,
            cache,
            min_content,
        )
        self.real = self._modalities[0].real
        self._structures = StructureVolumes(prepared) if layout.masks and not first_image_only else None
        self.seconds: dict[str, float] = {}
        self.features: dict[str, Features] = {}
        self.first: Images = np.empty((0,), np.float32)

    def volumes(self, batches: Iterable[Images], labels: Labels = ()) -> Assessment:
        """Assess generated volumes.

        Args:
            batches: [b, C, D, H, W], at least 2 volumes in all, read one after the other; images are clipped
                to [-1, 1].
            labels: Labels of each volume, a value per label column; none for generators without labels.

        Returns:
            Metrics, intervals, floors, warnings. `first` and `features` then hold the first volumes and the
            features by network and view, for pictures.

        Raises:
            VoxflateError: If a value is not finite, the shape is not that of the real volumes, or there are
                fewer than 2.
        """
        collected, pairs = Collected(labels=labels), self._pair_bank()
        for batch in self._checked(batches, self.real.prepared.shape, collected):
            for modality in self._modalities:
                image = batch[:, modality.index : modality.index + 1]
                with self._stage("features of slices"):
                    for view, images in plane_views(image, self.settings.slices).items():
                        self._extract(modality, modality.extractors, view, images, collected)
                with self._stage("features of volumes"):
                    self._extract(modality, modality.volume_extractors, VIEW_3D, image, collected)
            with self._stage("pairs"):
                pairs.add(batch[:, :1])
            if self._structures is not None:
                collected.structures.append(self._structures.of(batch))
        return self._assess(collected, pairs)

    def images(self, batches: Iterable[Images]) -> Assessment:
        """Assess generated images of the 2D stage against axial slices of the training volumes.

        Args:
            batches: [b, C, H, W], at least 2 images in all; clipped to [-1, 1].

        Raises:
            VoxflateError: As for `volumes`.
        """
        collected = Collected()
        for batch in self._checked(batches, self.real.prepared.shape[1:], collected):
            for modality in self._modalities:
                image = batch[:, modality.index : modality.index + 1]
                with self._stage("features of slices"):
                    self._extract(modality, modality.extractors, VIEW_2D, image, collected)
        return self._assess(collected, None)

    def real_features(self, extractor: FeatureExtractor | None = None) -> Features:
        """The real volumes' features by view, by default of the main network."""
        return self.real.plane_features(extractor or self._extractors[0], self.settings.slices)

    def _build_volume_extractor(self) -> VolumeExtractor | None:
        name = self.settings.volume_extractor
        if name == "none":
            return None
        automatic = name == "auto"
        if automatic:
            if self._prepared.manifest.recipe != _BRAIN_RECIPE:
                return None
            name = "deepbet"
        if name not in VOLUME_EXTRACTORS:
            choices = ", ".join(["auto", "none", *VOLUME_EXTRACTORS])
            raise VoxflateError(f"there is no volume extractor {name!r}; choose one of {choices}")
        try:
            return VOLUME_EXTRACTORS[name](self.settings.device)
        except VoxflateError as error:
            if not automatic:
                raise
            self._unmeasured.append(f"no 3D distance: {error}")
            return None

    def _pair_bank(self) -> PairBank:
        with self._stage("pairs"):
            return PairBank(self.real, self.settings.seed)

    def _checked(
        self, batches: Iterable[Images], shape: tuple[int, ...], collected: Collected
    ) -> Iterator[Images]:
        source = iter(batches)
        kept = 0
        while True:
            with self._stage("generating"):
                made = next(source, None)
            if made is None:
                break
            batch = checked_samples(made, (self._channels, *shape), self._prepared.layout.images)
            if kept < KEPT:
                collected.first.append(batch[: KEPT - kept].copy())
                kept += len(collected.first[-1])
            collected.count += len(batch)
            collected.constant += int((batch.reshape(len(batch), -1).std(axis=1) < _CONSTANT).sum())
            yield batch
        if collected.count < 2:
            raise VoxflateError(
                f"evaluation needs at least 2 samples, got {collected.count}; raise "
                "evaluation.samples, or add volumes to the folder"
            )

    def _extract(
        self,
        modality: Modality,
        extractors: Sequence[FeatureExtractor | VolumeExtractor],
        view: str,
        images: Images,
        collected: Collected,
    ) -> None:
        tensor = torch.from_numpy(np.ascontiguousarray(images, np.float32))
        for extractor in extractors:
            collected.add(modality.name(extractor), view, extractor(tensor).numpy())

    def _assess(self, collected: Collected, pairs: PairBank | None) -> Assessment:
        """Compute the metrics of what was collected."""
        settings = self.settings
        self.first = np.concatenate(collected.first)
        statistics = Statistics(settings.replicates, settings.seed)
        for modality in self._modalities:
            networks: list[FeatureExtractor | VolumeExtractor] = [*modality.extractors]
            if pairs is not None:
                networks += modality.volume_extractors
            for network in networks:
                n_real = self._compare_network(statistics, modality, network, collected)
        if pairs is not None:
            n_real = self.real.count
            name = self._extractors[0].name
            features = self.features[name], self.real_features()
            options = settings.slices, HALVINGS, settings.seed
            statistics.add_plain(*class_distances(name, *features, collected.labels, self.real, *options))
            with self._stage("real volumes"):
                statistics.add_pairs(pairs.means(), pairs.replicated(), *real_pairs(self.real, settings.seed))
        if self._structures is not None and collected.structures:
            distances = self._structures.distances(np.concatenate(collected.structures))
            statistics.add_plain(distances, self._structures.floor(HALVINGS, settings.seed))

        with self._stage("intervals"):
            metrics = statistics.metrics(collected.count)
        facts = self._facts(collected.count, n_real, networks)
        facts["n-real-subjects"] = len(set(statistics.real_subjects))
        facts["floor"] = half_sizes(statistics.real_subjects, HALVINGS, settings.seed)
        if "ms-ssim" in metrics:
            levels, kernel = levels_and_kernel(min(self.real.prepared.shape))
            facts["ms-ssim"] = {"levels": levels, "kernel": kernel}
        found = warnings_of(metrics, facts, self.real, pairs.left_out if pairs is not None else [])
        if collected.constant:
            found.append(f"{collected.constant} of {collected.count} generated samples are constant")
        unmeasured = self._unmeasured if pairs is not None else ()
        return Assessment(metrics, facts, (*unmeasured, *found), dict(self.seconds))

    def _compare_network(
        self,
        statistics: Statistics,
        modality: Modality,
        network: FeatureExtractor | VolumeExtractor,
        collected: Collected,
    ) -> int:
        """Compare the features of a network; return the number of real samples."""
        name = modality.name(network)
        generated = self.features[name] = collected.views(name)
        with self._stage("real volumes"):
            real = self._real_of(modality.real, network, generated)
        if getattr(network, "standardise", False):
            generated, real = standardised(generated, real)
        with self._stage("metrics"):
            slices = self.settings.slices if "ax" in generated else 1
            two_d = VIEW_2D in generated
            statistics.real_subjects = modality.real.slice_subjects if two_d else self.real.subjects
            statistics.add_features(name, generated, real, slices, modality.refit(network))
            if "ax" in generated:
                statistics.add_heldout(name, generated, real, self.real.n_train, slices)
        return len(next(iter(real.values())))

    def _real_of(
        self, real: RealSet, network: FeatureExtractor | VolumeExtractor, generated: Features
    ) -> Features:
        """The real volumes' features in the views that the generated ones have."""
        if VIEW_3D in generated:
            return real.volume_features(network)
        if VIEW_2D in generated:
            return real.slice_features(network)
        return real.plane_features(network, self.settings.slices)

    def _facts(
        self, n_generated: int, n_real: int, networks: Sequence[FeatureExtractor | VolumeExtractor]
    ) -> dict[str, Any]:
        settings = self.settings
        lengths = {name: next(iter(views.values())).shape[1] for name, views in self.features.items()}
        return {
            "measurement": MEASUREMENT,
            "n-generated": n_generated,
            "n-real": n_real,
            "n-heldout": self.real.count - self.real.n_train,
            "extractors": [
                {
                    "name": network.name,
                    "weights-sha256": network.weights_sha256,
                    "features": lengths[network.name],
                    "side": network.side,
                }
                for network in networks
            ],
            "slices": settings.slices,
            "seed": settings.seed,
            "replicates": settings.replicates,
            "halvings": HALVINGS,
            "data": self._prepared.content_hash,
            "images": [channel.name for channel in self._prepared.layout.channels[: len(self._modalities)]],
            "shape": list(self.real.prepared.shape),
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Add the time spent in a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
