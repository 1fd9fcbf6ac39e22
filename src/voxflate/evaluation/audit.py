"""Flags generated volumes that may be copies of training volumes.

There are three measures of similarity: correlation at the best small shift and flip, its lead over the second
nearest subject, and the distance of slice features. The first two use all channels with equal weight, the
last only the images. Thresholds come from volumes that are not copies: held-out volumes, and training volumes
against the other subjects. A generated volume that is nearer than all but a few of these is flagged
(decisions 0044 and 0152). How often that happens to people whom the thresholds do not know is measured with
people withheld from both (decision 0191), and compared with the share of flagged volumes (decision 0216).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.preparing.quality import copies_in
from voxflate.data.views import one_channel
from voxflate.evaluation.chance import Interval, alarms_interval, share_interval, verdict
from voxflate.evaluation.real import Images, RealSet, checked_samples
from voxflate.evaluation.withheld import MEASURES, Similarities, leads, thresholds_of, withheld_share
from voxflate.metrics import PLANES, FeatureExtractor, centre_slices
from voxflate.metrics.copies import FLIPS, Neighbours

PICTURES = 12
"""Number of flagged pairs kept for the report: those with the highest correlation."""

_MOST_NULL = 200
_MANY = 3
"""Fewest flagged volumes with one neighbour that are remarked on."""
_AXES = {1: "superior-inferior", 2: "anterior-posterior", 3: "left-right"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Nearness:
    """A volume's similarity to the training set.

    Attributes:
        neighbour: Index of the training volume with the highest correlation.
        subject: Subject of that volume.
        flip: Axis along which the volume had to be flipped, or "".
        correlation: With the neighbour.
        lead: (1 - correlation) / (1 - correlation with the nearest volume of another subject): 1 if no
            subject is particularly near, towards 0 for a copy.
        features: Distance to the nearest features of a training volume.
        features_neighbour: Index of that training volume.
    """

    neighbour: int
    subject: str
    flip: str
    correlation: float
    lead: float
    features: float
    features_neighbour: int

    @property
    def distances(self) -> dict[str, float]:
        """The three measures, each lowest for the nearest volume."""
        return {"correlation": 1 - self.correlation, "lead": self.lead, "features": self.features}


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        samples: One entry per generated volume, in order.
        flagged: Sample index -> the measures that flagged it.
        thresholds: Measure -> distance below which a volume is flagged.
        null: Similarity of volumes that are not copies.
        n_train: Number of training volumes.
        n_heldout: Number of held-out volumes in `null`.
        pairs: Sample index -> the generated and the training volume, [2, C, D, H, W]; the clearest few.
        extractor: Name of the feature network.
        false_alarms: Share of real volumes that are flagged when the thresholds do not know their people;
            None if there are too few people to measure it.
        people: Number of people in `null`.
    """

    samples: Sequence[Nearness]
    flagged: Mapping[int, tuple[str, ...]]
    thresholds: Mapping[str, float]
    null: Sequence[Nearness]
    n_train: int
    n_heldout: int
    pairs: Mapping[int, Images]
    extractor: str
    false_alarms: float | None
    people: int

    @property
    def share(self) -> float:
        """Share of the generated volumes that are flagged."""
        return len(self.flagged) / len(self.samples)

    @property
    def interval(self) -> Interval:
        """95% interval of `share`."""
        return share_interval(len(self.flagged), len(self.samples))

    @property
    def alarms_interval(self) -> Interval | None:
        """95% interval of `false_alarms`."""
        return None if self.false_alarms is None else alarms_interval(self.false_alarms, self.people)

    @property
    def verdict(self) -> str | None:
        """Whether more are flagged than by chance, one of `chance.VERDICTS`; None without false alarms."""
        if self.false_alarms is None:
            return None
        return verdict(len(self.flagged), len(self.samples), self.false_alarms, self.people)

    @property
    def limits(self) -> dict[str, float]:
        """Measure and side -> the value beyond which a volume is flagged, in the units of `Nearness`."""
        correlation, lead, features = (self.thresholds[measure] for measure in MEASURES)
        return {"correlation above": 1 - correlation, "lead below": lead, "features below": features}

    @property
    def remark(self) -> str:
        """That most flagged volumes are nearest to one training volume; "" if they are not."""
        targets = Counter(self.samples[number].neighbour for number in self.flagged)
        (_, most), *_ = targets.most_common(1) or [(0, 0)]
        if most < _MANY or most <= len(self.flagged) / 2:
            return ""
        return (
            f"{most} of the {len(self.flagged)} flagged volumes are nearest to the same training volume: "
            "the generator repeats this scan, or it makes nearly one image and is not trained far enough "
            "for an audit; look at the pairs"
        )

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain values for audit.json."""
        return {
            "n-generated": len(self.samples),
            "n-train": self.n_train,
            "n-heldout": self.n_heldout,
            "n-null": len(self.null),
            "extractor": self.extractor,
            "flagged-if": self.limits,
            "flagged-share": self.share,
            "flagged-share-interval": self.interval,
            "false-alarms": self.false_alarms,
            "false-alarms-interval": self.alarms_interval,
            "verdict": self.verdict,
            "remark": self.remark,
            "flagged": {str(number): list(measures) for number, measures in self.flagged.items()},
            "samples": [asdict(near) for near in self.samples],
            "null": [asdict(near) for near in self.null],
        }


class Auditor:
    """Compares volumes with the training volumes of a prepared set.

    Args:
        prepared: The set.
        extractor: Computes the features of slices.
        seed: Seed for choosing the training volumes that serve as examples of non-copies.

    Raises:
        VoxflateError: If the training volumes are of fewer than 3 subjects.
    """

    def __init__(self, prepared: PreparedSet, extractor: FeatureExtractor, seed: int = 0) -> None:
        self._prepared = prepared
        self._real = RealSet(prepared, seed)
        self._images = prepared.layout.images
        self._extractor = extractor
        self._seed = seed
        self._people = _people(prepared, self._real.subjects)
        owners = self._people[: self._real.n_train]
        if len(set(owners)) < 3:
            raise VoxflateError(
                f"{prepared.root}: training volumes of {len(set(owners))} subjects are too few to tell a "
                "copy, at least 3 are needed; add subjects"
            )
        self._owners = owners
        self._neighbours = Neighbours(torch.from_numpy(prepared.volumes("train")))
        views = [
            RealSet(one_channel(prepared, image), seed).plane_features(extractor)
            for image in range(self._images)
        ]
        parts = [view[plane] for view in views for plane in PLANES]
        self._features = np.concatenate(parts, axis=1).astype(np.float64)

    def run(self, batches: Iterable[Images], progress: Progress | None = None) -> Audit:
        """Audit generated volumes.

        Args:
            batches: [b, C, D, H, W], read one after the other; images are clipped to [-1, 1].
            progress: Called with (null volumes done, all null volumes) before the first batch is read.

        Raises:
            VoxflateError: If a value is not finite, the shape is not that of the real volumes, or there are
                none.
        """
        null, real = self._null(progress)
        everything = np.ones(len(null), bool), np.ones(len(self._owners), bool)
        limits = thresholds_of(real.distances(*everything)).tolist()
        thresholds = dict(zip(MEASURES, limits, strict=True))
        samples: list[Nearness] = []
        flagged: dict[int, tuple[str, ...]] = {}
        pairs: dict[int, Images] = {}
        layout = self._prepared.layout
        for made in batches:
            batch = checked_samples(made, (len(layout.channels), *self._prepared.shape), layout.images)
            features = self._features_of(batch)
            for volume, feature in zip(batch, features, strict=True):
                near = self._nearness(*self._compared(volume, feature))
                if found := flags(near, thresholds):
                    number = len(samples)
                    flagged[number] = found
                    pairs[number] = np.stack([volume, self._training_volume(near.neighbour)])
                samples.append(near)
                _keep_clearest(pairs, samples)
        if not samples:
            raise VoxflateError("there are no generated volumes to audit; raise evaluation.samples")
        return Audit(
            samples=samples,
            flagged=flagged,
            thresholds=thresholds,
            null=null,
            n_train=self._real.n_train,
            n_heldout=min(self._real.count - self._real.n_train, len(null)),
            pairs=pairs,
            extractor=self._extractor.name,
            false_alarms=withheld_share(real, self._seed),
            people=len(np.unique(real.people)),
        )

    def _null(self, progress: Progress | None) -> tuple[list[Nearness], Similarities]:
        """Similarity of held-out volumes, and of training volumes to other subjects."""
        n_train, count = self._real.n_train, self._real.count
        rng = np.random.default_rng(self._seed)
        chosen = [*range(n_train, count), *rng.permutation(n_train)][:_MOST_NULL]
        null: list[Nearness] = []
        rows: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for number in chosen:
            volume = self._real.volumes(np.array([number]))[0]
            values, flips, gaps = self._compared(volume, self._features[number])
            own = self._owners == self._people[number]
            null.append(self._nearness(np.where(own, -np.inf, values), flips, np.where(own, np.inf, gaps)))
            rows.append((values, gaps))
            if progress is not None:
                progress(len(null), len(chosen))
        correlations, distances = (np.stack(part) for part in zip(*rows, strict=True))
        return null, Similarities(correlations, distances, self._people[chosen], self._owners)

    def _compared(
        self, volume: Images, features: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """A volume [C, D, H, W] and each training volume: correlation, its flip, features' distance, [n]."""
        values, flips = (x.numpy() for x in self._neighbours.correlations(torch.from_numpy(volume)))
        gaps = np.linalg.norm(self._features[: len(values)] - features, axis=1)
        return values.astype(np.float64), flips, gaps

    def _nearness(
        self, values: NDArray[np.float64], flips: NDArray[np.int64], gaps: NDArray[np.float64]
    ) -> Nearness:
        """Summarise what `_compared` found; volumes that do not count are passed as infinitely far away."""
        first = int(values.argmax())
        return Nearness(
            neighbour=first,
            subject=self._real.subjects[first],
            flip="".join(_AXES[axis] for axis in FLIPS[flips[first]]),
            correlation=float(values[first]),
            lead=float(leads(values[None], self._owners)[0]),
            features=float(gaps.min()),
            features_neighbour=int(gaps.argmin()),
        )

    def _features_of(self, batch: Images) -> NDArray[np.float64]:
        parts = []
        for image in range(self._images):
            slices = centre_slices(batch[:, image : image + 1])
            parts += [
                self._extractor(torch.from_numpy(np.ascontiguousarray(slices[plane]))) for plane in PLANES
            ]
        return torch.cat(parts, dim=1).numpy().astype(np.float64)

    def _training_volume(self, number: int) -> Images:
        volume: Images = self._prepared.volumes("train", [number])[0]
        return volume


def _people(prepared: PreparedSet, subjects: Sequence[str]) -> NDArray[np.str_]:
    """The person of each volume. Subjects with the same scan count as one person (decision 0220)."""
    people = np.array(subjects)
    for group in copies_in(prepared):
        people[np.isin(people, people[group])] = people[group[0]]
    return people


def flags(near: Nearness, thresholds: Mapping[str, float]) -> tuple[str, ...]:
    """The measures in which a volume is below the threshold."""
    distances = near.distances
    return tuple(measure for measure in MEASURES if distances[measure] < thresholds[measure])


def _keep_clearest(pairs: dict[int, Images], samples: Sequence[Nearness]) -> None:
    if len(pairs) > PICTURES:
        del pairs[min(pairs, key=lambda number: samples[number].correlation)]
