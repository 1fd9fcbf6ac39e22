"""Generated volumes against real ones: distances per plane, diversity, and the floor of the real set.

Every result is a flat dictionary whose figures stand beside what they depend on: extractor, hash of its
weights, numbers of real and generated samples, seed. A figure named "...-cut" was taken after
`cut_background` on both sides; "-avg" is the mean of the three planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate.data.datasets import slices_with_content
from voxflate.data.prepared import SPLITS, PreparedSet
from voxflate.errors import VoxflateError
from voxflate.metrics import (
    EXTRACTORS,
    NEIGHBOURS,
    PLANES,
    centre_slices,
    cut_background,
    frechet_distance,
    kernel_distance,
    pairwise_l2,
    prdc,
)
from voxflate.metrics.cache import ArrayCache, cache_folder

Images = NDArray[np.float32]
Features = dict[str, NDArray[np.float32]]  # view name ("ax", "ax-cut", ...) -> [n, f]
Figures = dict[str, float | int | str]

_VIEWS = (*PLANES, *(f"{plane}-cut" for plane in PLANES))
_VIEW_2D = "2d"
_DIVERSITY = "pairwise-l2"
# Part of the cache's key: raise it whenever the same volumes would give other features.
_FEATURES_VERSION = 1
_REAL_BATCH = 32
# Each half of the floor needs a covariance, and so two volumes.
_FEWEST_REAL = 4
_REAL_SLICES = 1000
_FLOOR_SPLITS = 10
# Diversity is taken over at most this many volumes, which have to be in memory together.
_DIVERSITY_VOLUMES = 256


class Evaluator:
    """Compares generated samples with one prepared data set.

    The features of the real volumes are computed when first needed and kept in a cache that goes by
    content (the set's hash, the weights' hash), so that new data never meets old features.

    Args:
        prepared: The real volumes, train and held-out together (the 2D comparison: train only).
        extractor: Name in `EXTRACTORS`.
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
        if extractor not in EXTRACTORS:
            raise VoxflateError(
                f"evaluation.extractor: there is no {extractor!r}; choose one of {', '.join(EXTRACTORS)}"
            )
        self._prepared = prepared
        count = sum(len(prepared.stored(split)) for split in SPLITS)
        if count < _FEWEST_REAL:
            raise VoxflateError(
                f"{prepared.root}: {count} real volumes are too few to measure against, it takes at least "
                f"{_FEWEST_REAL}; add volumes, or train with --set evaluation.every=0"
            )
        self._extractor = EXTRACTORS[extractor](device)
        self._seed = seed
        self._min_content = min_content
        self._floors: dict[str, Figures] = {}
        self._cache = ArrayCache(cache or cache_folder())

    def measure(self, volumes: Iterable[Images]) -> Figures:
        """Distances of generated volumes to all real ones, per plane, and their diversity.

        Args:
            volumes: Batches [b, 1, D, H, W] in [-1, 1], at least 2 volumes in all; taken one after the other.

        Returns:
            "frechet-<extractor>-<ax|sag|cor|avg>" and the same with "-cut"; kid of the same planes and,
            against the held-out volumes alone if there are two, "kid-<extractor>-heldout-avg";
            "precision-<extractor>-avg" and the same of recall, density and coverage, means of the planes, if
            both sets are large enough; "pairwise-l2" (over the first 256 volumes), "n-real", "n-generated",
            "extractor", "weights-sha256", "seed".

        Raises:
            VoxflateError: If a value is not finite, there are fewer than 2 volumes, or their shape is
                not the real volumes' shape.
        """
        kept: list[Images] = []

        def checked() -> Iterator[Images]:
            for batch in volumes:
                _check_samples(batch, (1, *self._prepared.shape))
                kept.append(batch[: max(0, _DIVERSITY_VOLUMES - sum(map(len, kept)))])
                yield batch

        generated = self._features(checked(), _plane_views)
        real = self._real_volumes()
        diversity = pairwise_l2(np.concatenate(kept), seed=self._seed)
        figures: Figures = {**self._distances(generated, real), **self._heldout_kid(generated, real)}
        figures[_DIVERSITY] = diversity
        return figures | self._provenance(len(real["ax"]), len(generated["ax"]))

    def measure_2d(self, images: Iterable[Images]) -> Figures:
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
                _check_samples(batch, (1, *self._prepared.shape[1:]))
                yield batch

        generated = self._features(checked(), _whole_images)
        real = self._real_slices()
        n_real, n_generated = len(real[_VIEW_2D]), len(generated[_VIEW_2D])
        return {**self._distances(generated, real), **self._provenance(n_real, n_generated)}

    def real_floor(self) -> Figures:
        """What real volumes reach: one half of the real set against the other, mean of 10 random halvings.

        Returns:
            The keys of `measure`, with the sizes of the halves as "n-real" and "n-generated", the diversity
            of the real set as "pairwise-l2", and "splits", the number of halvings. A half has fewer samples
            than the set, which raises the figure: generated volumes can come out slightly below it.
        """
        if "3d" not in self._floors:
            real = self._real_volumes()
            floor = self._floor({view: real[view] for view in _VIEWS})
            self._floors["3d"] = floor | {_DIVERSITY: float(real[_DIVERSITY][0])}
        return self._floors["3d"]

    def real_floor_2d(self) -> Figures:
        """The floor of `measure_2d`: one half of its real slices against the other, mean of 10 halvings."""
        if _VIEW_2D not in self._floors:
            self._floors[_VIEW_2D] = self._floor(self._real_slices())
        return self._floors[_VIEW_2D]

    def _floor(self, real: Features) -> Figures:
        n = len(next(iter(real.values())))
        rng = np.random.default_rng(self._seed)
        rounds = []
        for _ in range(_FLOOR_SPLITS):
            first, second = np.array_split(rng.permutation(n), 2)
            halves = [{view: x[chosen] for view, x in real.items()} for chosen in (first, second)]
            rounds.append(self._distances(*halves))
        figures: Figures = {key: float(np.mean([figures[key] for figures in rounds])) for key in rounds[0]}
        return figures | self._provenance(n - n // 2, n // 2) | {"splits": _FLOOR_SPLITS}

    def _distances(self, generated: Features, real: Features) -> dict[str, float]:
        """Figures per view, and means over planes if there are planes."""
        name = self._extractor.name
        figures = {f"frechet-{name}-{view}": frechet_distance(x, real[view]) for view, x in generated.items()}
        whole = [view for view in generated if not view.endswith("-cut")]
        figures |= {f"kid-{name}-{view}": kernel_distance(generated[view], real[view]) for view in whole}
        if "ax" in generated:
            for kind, suffix in (("frechet", ""), ("frechet", "-cut"), ("kid", "")):
                planes = [figures[f"{kind}-{name}-{plane}{suffix}"] for plane in PLANES]
                figures[f"{kind}-{name}-avg{suffix}"] = float(np.mean(planes))
        sizes = [len(features[whole[0]]) for features in (generated, real)]
        if min(sizes) > NEIGHBOURS:
            shares = [prdc(real[view], generated[view]) for view in whole]
            ending = "avg" if "ax" in generated else whole[0]
            for share in shares[0]:
                figures[f"{share}-{name}-{ending}"] = float(np.mean([each[share] for each in shares]))
        return figures

    def _heldout_kid(self, generated: Features, real: Features) -> dict[str, float]:
        """The kernel distance that a model is chosen by: against volumes that no training has seen."""
        n_train = len(self._prepared.stored("train"))
        if len(real["ax"]) - n_train < 2:
            return {}
        planes = [kernel_distance(generated[plane], real[plane][n_train:]) for plane in PLANES]
        return {f"kid-{self._extractor.name}-heldout-avg": float(np.mean(planes))}

    def _provenance(self, n_real: int, n_generated: int) -> Figures:
        return {
            "n-real": n_real,
            "n-generated": n_generated,
            "extractor": self._extractor.name,
            "weights-sha256": self._extractor.weights_sha256,
            "seed": self._seed,
        }

    def _features(self, batches: Iterable[Images], views: Callable[[Images], dict[str, Images]]) -> Features:
        """Features of every view of every batch; needs at least two samples."""
        collected: dict[str, list[NDArray[np.float32]]] = {}
        for batch in batches:
            for view, images in views(batch).items():
                slices = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
                collected.setdefault(view, []).append(self._extractor(slices).numpy())
        features = {view: np.concatenate(parts) for view, parts in collected.items()}
        n = len(next(iter(features.values()), ()))
        if n < 2:
            raise VoxflateError(f"evaluation needs at least 2 samples, got {n}; raise evaluation.samples")
        return features

    def _real_volumes(self) -> Features:
        """Features of all real volumes by view, and their diversity ([1])."""

        def compute() -> Features:
            sizes = [len(self._prepared.stored(split)) for split in SPLITS]
            everything = np.arange(sum(sizes))
            batches = np.split(everything, everything[_REAL_BATCH::_REAL_BATCH])
            features = self._features(map(self._volumes, batches), _plane_views)
            chosen = np.random.default_rng(self._seed).permutation(everything)[:_DIVERSITY_VOLUMES]
            diversity = pairwise_l2(self._volumes(chosen), seed=self._seed)
            return features | {_DIVERSITY: np.array([diversity], np.float32)}

        return self._cache.get(self._key("volumes"), (*_VIEWS, _DIVERSITY), compute)

    def _volumes(self, indices: NDArray[np.integer]) -> Images:
        """Some of train followed by held-out, [n, 1, D, H, W]; only these are read from the disk."""
        n_train = len(self._prepared.stored("train"))
        train, heldout = indices[indices < n_train], indices[indices >= n_train] - n_train
        return np.concatenate(
            [self._prepared.volumes("train", train), self._prepared.volumes("heldout", heldout)]
        )

    def _real_slices(self) -> Features:
        """Features of random axial slices of the training volumes."""

        def compute() -> Features:
            stored = self._prepared.stored("train")
            depth = stored.shape[1]
            kept = slices_with_content(stored, self._min_content)
            chosen = np.random.default_rng(self._seed).permutation(kept)[:_REAL_SLICES]
            volumes = (
                self._prepared.volumes("train", [index // depth])[:, :, index % depth] for index in chosen
            )
            return self._features([np.concatenate(list(volumes))], _whole_images)

        return self._cache.get(self._key("slices", self._min_content), (_VIEW_2D,), compute)

    def _key(self, *what: object) -> tuple[object, ...]:
        """Everything that features of real samples depend on."""
        extractor = self._extractor
        network = (extractor.name, extractor.weights_sha256, extractor.side)
        return (_FEATURES_VERSION, *what, self._prepared.content_hash, *network, self._seed)


def _plane_views(volumes: Images) -> dict[str, Images]:
    """[b, 1, D, H, W] -> the centre slices of the three planes, as they are and with the background cut."""
    slices = centre_slices(volumes)
    return slices | {f"{plane}-cut": cut_background(images) for plane, images in slices.items()}


def _whole_images(images: Images) -> dict[str, Images]:
    """[b, 1, H, W] -> the one view of the 2D comparison."""
    return {_VIEW_2D: images}


def _check_samples(batch: Images, shape: tuple[int, ...]) -> None:
    """Refuse samples of another shape [b, *shape], or with NaN or infinite values."""
    if batch.shape[1:] != shape:
        raise VoxflateError(
            f"samples are of shape {list(batch.shape[1:])}, the real ones of {list(shape)}; "
            "evaluate against the data set that the run was trained on"
        )
    if not np.isfinite(batch).all():
        raise VoxflateError(
            "samples hold NaN or infinite values; the training has diverged: go back to an earlier "
            "snapshot or lower the learning rates"
        )
