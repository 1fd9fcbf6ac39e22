"""Reads masks without averaging their values, and compares them with their scan and with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.channels import Channel
from voxflate.data.preparing.quality import Look
from voxflate.data.readers.refusals import ConstantError, ScanError
from voxflate.data.sources.account import Account
from voxflate.data.sources.source import Source
from voxflate.data.volume import Float64, Geometry, Volume, to_ras

MOST_CLASSES = 32
"""Most classes of a mask; each is a separate channel."""
LARGEST_VALUE = 32767
"""Largest label that fits int16."""

_FARTHEST = 0.5
"""Largest distance between the corners of a mask and its scan, in voxels of the scan."""


@dataclass(frozen=True)
class MaskClasses:
    """The classes of a set's masks.

    Attributes:
        values: Their values in the source, ascending.
        subjects: Number of volumes in which each occurs.
    """

    values: tuple[int, ...] = ()
    subjects: tuple[int, ...] = ()

    def check(self, source: Path) -> None:
        """Refuse more classes than there can be channels.

        Raises:
            VoxflateError: Gives the number of classes.
        """
        if len(self.values) > MOST_CLASSES:
            raise VoxflateError(
                f"{source}: its masks have {len(self.values)} classes, and each is a channel; at most "
                f"{MOST_CLASSES} are supported: merge classes, and write the masks again"
            )

    def channels(self, name: str) -> tuple[Channel, ...]:
        """A channel per class, named after the mask and the class's value."""
        return tuple(Channel(f"{name}-{value}", "mask", label=value) for value in self.values)


def read_mask(source: Source) -> Volume:
    """Read a mask's label values, reoriented to RAS, on the grid of its file; sheared axes stay sheared.

    If NaN is accepted, it is background.

    Raises:
        ScanError: If it cannot be read, has values that are not labels, or is empty.
    """
    try:
        volume = to_ras(source.own_volume(0.0 if source.reading.nan else None))
    except ConstantError as error:
        raise ScanError(
            source.path, "is a mask without foreground: all its voxels are equal; draw it, or remove it"
        ) from error
    array, low, high = volume.array, volume.array.min(), volume.array.max()
    broken = array[array != np.rint(array)] if array.dtype.kind == "f" else array[:0]
    if broken.size or low < 0 or high > LARGEST_VALUE:
        example = f", such as {broken.flat[0]:.9g}" if broken.size else ""
        raise ScanError(
            source.path,
            f"has values that are not labels ({low:g} to {high:g}{example}), expected whole "
            f"numbers from 0 to {LARGEST_VALUE}; correct the file, or name the masks with --mask",
        )
    kind: Any = np.uint8 if high < 256 else np.uint16
    return Volume(array.astype(kind, copy=False), volume.affine)


def labels_of(mask: Volume) -> frozenset[int]:
    """The values of a mask without the background's 0."""
    top = int(mask.array.max())
    if top <= MOST_CLASSES:  # comparing bytes is much faster than counting them
        return frozenset(value for value in range(1, top + 1) if (mask.array == value).any())
    return frozenset(np.flatnonzero(np.bincount(mask.array.ravel())).tolist()) - {0}


def check_place(scan: Geometry, mask: Geometry, path: Path) -> None:
    """Refuse a mask whose corners differ from its scan's.

    Args:
        scan: Grid of the scan.
        mask: Grid of the mask.
        path: File of the mask.

    Raises:
        ScanError: Gives the distance.
    """
    steps = scan.affine[:3, :3]
    apart = np.linalg.solve(steps, (_corners(mask) - _corners(scan)).T)
    farthest = float(np.abs(apart).max())
    if farthest > _FARTHEST:
        raise ScanError(
            path,
            f"does not match its scan: a corner is {farthest:.1f} voxels away, at most "
            f"{_FARTHEST:g} is accepted ({_sides(mask)} voxels, the scan has {_sides(scan)}); "
            "resample the mask to its scan, or pair it with the right one",
        )


def _corners(grid: Geometry) -> Float64:
    """World positions of the corners of the box that the voxels fill, [8, 3]."""
    upright = grid.to_ras()
    ends = [(-0.5, side - 0.5) for side in upright.shape]
    return np.array([upright.world((d, h, w)) for d, h, w in product(*ends)])


def _sides(grid: Geometry) -> str:
    return "x".join(map(str, grid.to_ras().shape))


def agreed_classes(found: Mapping[int, frozenset[int]], *, mixed: bool) -> tuple[MaskClasses, dict[int, str]]:
    """Find the classes of a set, and the masks that do not match it.

    Classes belong together if a mask has both, or if they are linked through other classes. Masks whose
    classes are not linked to those of the most masks have another set of labels.

    Args:
        found: Volume -> its labels.
        mixed: Whether to accept masks with another set of labels.

    Returns:
        The classes, and volume -> why it does not match.
    """
    groups: list[set[int]] = []
    for labels in set(found.values()):
        joined = set(labels).union(*(group for group in groups if group & labels))
        groups = [*(group for group in groups if not group & labels), joined]
    sizes = [sum(bool(group & labels) for labels in found.values()) for group in groups]
    largest = groups[int(np.argmax(sizes))] if groups else set()
    refused = {}
    if not mixed:
        refused = {
            index: f"has a mask with the labels {_some(labels)}, but {max(sizes)} of {len(found)} masks have "
            f"{_some(largest)} and no mask has labels of both; correct the mask, or accept all with --mixed"
            for index, labels in found.items()
            if not labels & largest
        }
    counts = Counter(label for index, labels in found.items() if index not in refused for label in labels)
    values = tuple(sorted(counts))
    return MaskClasses(values, tuple(counts[value] for value in values)), refused


def _some(labels: Sequence[int] | frozenset[int] | set[int]) -> str:
    ordered = sorted(labels)
    return ", ".join(map(str, ordered[:8])) + (", ..." if len(ordered) > 8 else "")


def remark_on_classes(account: Account, classes: MaskClasses, volumes: int) -> None:
    """Note in how many volumes each class occurs, if not in all of them."""
    if min(classes.subjects, default=volumes) < volumes:
        counts = zip(classes.values, classes.subjects, strict=True)
        found = ", ".join(f"{value} in {count}" for value, count in counts)
        account.note(f"not every mask has every class: of {volumes} volumes, {found}")


_KEEPING_MORE = {
    "crop_foreground": "leave out --crop",
    "resample_box": "choose --box largest",
    "fit_depth": "use --recipe ct",
}
"""Step that may cut away a class -> how to keep more."""


def remark_on_lost_classes(
    account: Account,
    classes: MaskClasses,
    labels: Sequence[frozenset[int]],
    looks: Sequence[Look],
    steps: Sequence[Mapping[str, Any]],
) -> None:
    """Note classes of which nothing, or too little for a voxel, is left in volumes whose masks have them.

    Args:
        account: Receives the notes.
        classes: The classes of the masks.
        labels: The labels of every mask, in its file.
        looks: Data of every prepared volume.
        steps: The steps done, as `manifest.records` returns them.
    """
    advice = " or ".join(_KEEPING_MORE[one["step"]] for one in steps if one["step"] in _KEEPING_MORE)
    for place, (value, subjects) in enumerate(zip(classes.values, classes.subjects, strict=True)):
        having = [look for known, look in zip(labels, looks, strict=True) if value in known]
        lost = sum(not look.shares[place] for look in having)
        if faint := sum(not look.drawn[place] for look in having) - lost:
            account.note(
                f"class {value} is too small for the shape in {faint} of the {subjects} volumes whose masks "
                "have it: no voxel has more of it than of the others, so it is missing there; use a larger "
                "--shape, or merge it with another class"
            )
        if lost:
            account.note(
                f"class {value} lies outside the part that is kept in {lost} of the {subjects} volumes whose "
                f"masks have it, so it is missing there; to keep more, {advice}"
            )
