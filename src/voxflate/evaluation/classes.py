"""Distances within classes of labels: generated volumes of a class against real ones of that class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate.data.channels import LabelValue
from voxflate.evaluation.distances import halvings, means
from voxflate.evaluation.real import Features, RealSet
from voxflate.metrics import PLANES, kernel_distance

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
            owners = None, subjects
            planes = [kernel_distance(ours[plane], theirs[plane], slices, owners) for plane in PLANES]
            values[key] = float(np.mean(planes))
            floor = means(halvings(name, theirs, subjects, splits, seed, slices)).get(f"kid-{name}-avg")
            if floor is not None:
                floors[key] = floor
    return values, floors


def _of_class(labels: Labels, column: str, value: str) -> NDArray[np.bool_]:
    return np.array([str(each[column]) == value for each in labels])


def _chosen(features: Features, chosen: NDArray[np.bool_], slices: int) -> Features:
    """Features of some volumes in the three planes."""
    return {plane: features[plane][chosen.repeat(slices)] for plane in PLANES}
