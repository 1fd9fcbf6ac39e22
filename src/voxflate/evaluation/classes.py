"""Distances within classes of labels: generated volumes of a class against real ones of that class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate.data.channels import LabelValue
from voxflate.evaluation.distances import halves
from voxflate.evaluation.real import Features, RealSet
from voxflate.metrics import PLANES, kernel_distance
from voxflate.metrics.kid import Owners

_FEWEST = 2

Labels = Sequence[Mapping[str, LabelValue]]


def class_distances(
    name: str,
    generated: Features,
    real: Features,
    labels: Labels,
    reals: RealSet,
    slices: int,
    splits: int,
    seed: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Kernel distances within each class; they are unbiased for few samples.

    Args:
        name: The extractor's.
        generated: Features of generated volumes by view, [n x slices, f].
        real: The same for the real volumes.
        labels: Labels of each generated volume, [n]; empty for generators without labels.
        reals: Gives the subjects and labels of the real volumes.
        slices: Slices per volume.
        splits: Number of halvings of a class's real subjects for the floor.
        seed: Seed of the halvings.

    Returns:
        "kid-<extractor>-<label>-<class>-avg" -> mean over the planes, for classes with at least 2 generated
        volumes and 2 real subjects; the same between halves of the real volumes.
    """
    values, floors = {}, {}
    for column in reals.prepared.layout.labels if labels else ():
        for value in column.values:
            made, known = (_of_class(each, column.name, value) for each in (labels, reals.labels))
            subjects = [who for who, own in zip(reals.subjects, known, strict=True) if own]
            if min(made.sum(), len(set(subjects))) < _FEWEST:
                continue
            key = f"kid-{name}-{column.name}-{value}-avg"
            ours, theirs = _chosen(generated, made, slices), _chosen(real, known, slices)
            values[key] = _distance(ours, theirs, slices, (None, subjects))
            if (floor := _floor(theirs, np.array(subjects), splits, seed, slices)) is not None:
                floors[key] = floor
    return values, floors


def _distance(ours: Features, theirs: Features, slices: int, owners: Owners) -> float:
    """Mean kernel distance over the planes."""
    planes = [kernel_distance(ours[plane], theirs[plane], slices, owners) for plane in PLANES]
    return float(np.mean(planes))


def _floor(real: Features, who: NDArray[np.str_], splits: int, seed: int, slices: int) -> float | None:
    """Mean distance between halves of the people; None if a half has fewer than two."""
    found = []
    for here in halves(who.tolist(), splits, seed):
        if min(len(set(who[here])), len(set(who[~here]))) < _FEWEST:
            return None
        owners = who[here].tolist(), who[~here].tolist()
        found.append(_distance(_chosen(real, here, slices), _chosen(real, ~here, slices), slices, owners))
    return float(np.mean(found))


def _of_class(labels: Labels, column: str, value: str) -> NDArray[np.bool_]:
    return np.array([str(each[column]) == value for each in labels])


def _chosen(features: Features, chosen: NDArray[np.bool_], slices: int) -> Features:
    """Features of some volumes in the three planes."""
    return {plane: features[plane][chosen.repeat(slices)] for plane in PLANES}
