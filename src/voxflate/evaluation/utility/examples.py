"""Scans with their masks and labels; a whole training set is kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import LabelValue, mask_classes
from voxflate.data.prepared import SPLITS, Int16, PreparedSet, from_stored
from voxflate.data.volume import Float32

_AT_A_TIME = 16

Classes = NDArray[np.uint8]


@dataclass(frozen=True)
class Examples:
    """Scans with their masks and labels.

    Attributes:
        images: The image channels as stored in a prepared set, int16 [n, M, D, H, W].
        classes: Class of each voxel, 0 for background, [n, D, H, W]; None without masks.
        labels: For each scan, a value per label; empty without labels.
        subjects: Subject of each scan, [n].
    """

    images: Int16
    classes: Classes | None
    labels: Sequence[dict[str, LabelValue]]
    subjects: Sequence[str]

    def __len__(self) -> int:
        return len(self.images)

    def values(self, indices: Sequence[int] | NDArray[np.integer]) -> Float32:
        """Some scans as input for networks, float32 [n, M, D, H, W] in [-1, 1]."""
        return from_stored(self.images[np.asarray(indices, np.int64)])

    def chosen(self, indices: Sequence[int] | NDArray[np.integer]) -> Examples:
        """Some of the examples, in this order."""
        places = np.asarray(indices, np.int64)
        return Examples(
            self.images[places],
            None if self.classes is None else self.classes[places],
            [self.labels[place] for place in places] if self.labels else [],
            [self.subjects[place] for place in places],
        )

    @classmethod
    def joined(cls, parts: Iterable[Examples]) -> Examples:
        """Concatenate sets of one kind."""
        found = list(parts)
        classes = [part.classes for part in found if part.classes is not None]
        return cls(
            np.concatenate([part.images for part in found]),
            np.concatenate(classes) if classes else None,
            [labels for part in found for labels in part.labels],
            [subject for part in found for subject in part.subjects],
        )


def real_examples(prepared: PreparedSet, split: str) -> Examples:
    """The volumes of a split.

    Args:
        prepared: The set.
        split: "train" or "heldout".

    Raises:
        VoxflateError: If there are none.
    """
    stored, layout = prepared.stored(split), prepared.layout
    if not len(stored):
        raise VoxflateError(
            f"{prepared.root}: has no {split} volumes, but utility needs some; prepare it with --held-out 0.2"
        )
    scans = [scan for scan in prepared.manifest.scans if scan.split == split]
    starts = range(0, len(stored), _AT_A_TIME)
    classes = None
    if layout.masks:
        parts = (mask_classes(from_stored(stored[start : start + _AT_A_TIME]), layout) for start in starts)
        classes = np.concatenate([part.astype(np.uint8) for part in parts])
    return Examples(
        np.array(stored[:, : layout.images]),
        classes,
        [scan.labels for scan in scans] if layout.labels else [],
        [scan.subject for scan in scans],
    )


def check_apart(prepared: PreparedSet) -> None:
    """Refuse a set with subjects that are both held out and trained on.

    Raises:
        VoxflateError: Names one.
    """
    people = [{scan.subject for scan in prepared.manifest.scans if scan.split == split} for split in SPLITS]
    if shared := sorted(people[0] & people[1]):
        raise VoxflateError(
            f"{prepared.root}: subject {shared[0]} is both trained on and held out; prepare it again"
        )
