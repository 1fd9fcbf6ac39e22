"""Kernel distance between two sets of features (KID; Binkowski et al. 2018).

The squared maximum mean discrepancy with the kernel k(x, y) = (x.y / f + 1)^3, in its unbiased form: unlike a
Frechet distance it is not raised by small sets, so values for different numbers of samples are comparable. It
can be slightly below zero for similar sets.

Slices of one volume are not independent, nor are scans of one person: their pairs would bias it, most for a
small set. They are left out, as a sample's pair with itself is (decisions 0192 and 0200).

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.metrics.gram import Gram

Array = NDArray[np.float64]
Owners = tuple[Sequence[object] | None, Sequence[object] | None]
"""The owner of each volume in the first set [n] and in the second [m]; None if every volume has its own."""

ONE_EACH: Owners = (None, None)


def kernel_distance(
    features_a: NDArray[np.floating],
    features_b: NDArray[np.floating],
    slices: int = 1,
    owners: Owners = ONE_EACH,
) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel.

    Args:
        features_a: [n x slices, f], grouped by volume, n >= 2.
        features_b: [m x slices, f], m >= 2.
        slices: Samples per volume; pairs within one volume are left out.
        owners: The people of the volumes; pairs of one person within a set are left out.

    Returns:
        The estimate, without a unit; computed in float64.

    Raises:
        VoxflateError: If a set has samples of fewer than two volumes or two owners.
    """
    both = features_a, features_b
    n, m = (
        len(x) // slices if whose is None else len(set(whose)) for x, whose in zip(both, owners, strict=True)
    )
    if min(n, m) < 2:
        raise VoxflateError(
            f"a kernel distance needs at least 2 samples of each set, got {n} and {m}; add samples"
        )
    distance = weighted_kernel_distance(Gram.of(*both), slices, owners)
    return distance(*(np.ones(len(x)) for x in both))[""]


def weighted_kernel_distance(
    gram: Gram, slices: int = 1, owners: Owners = ONE_EACH
) -> Callable[[Array, Array], dict[str, float]]:
    """The distance as a function of the samples' weights, for a bootstrap.

    A sample's kernel with its own copy is left out, because it would raise every replicate.

    Args:
        gram: Inner products of generated and real features.
        slices: Samples per volume, which have equal weights; pairs within one volume are left out.
        owners: The people of the volumes; pairs of one person within a set are left out.

    Returns:
        A function of weights [n x slices] and [m x slices] to {"": distance}.
    """
    inside_a, inside_b, across = (
        _of_volumes((x / gram.length + 1) ** 3, slices) for x in (gram.aa, gram.bb, gram.ab)
    )
    mean_a, mean_b = _inside(inside_a, owners[0]), _inside(inside_b, owners[1])

    def distance(a: Array, b: Array) -> dict[str, float]:
        a, b = a[::slices], b[::slices]
        return {"": mean_a(a) + mean_b(b) - 2 * _across(across, a, b)}

    return distance


def _of_one_owner(count: int, owners: Sequence[object] | None) -> Array:
    """1 for pairs of different volumes of one owner, else 0, [n, n]."""
    if owners is None:
        return np.zeros((count, count))
    _, numbers = np.unique([str(owner) for owner in owners], return_inverse=True)
    same: Array = (numbers[:, None] == numbers) * (1 - np.eye(count))
    return same


def _inside(kernel: Array, owners: Sequence[object] | None) -> Callable[[Array], float]:
    """Mean of the kernel [n, n] over drawn pairs of different owners, as a function of the weights [n]."""
    own, diagonal = _of_one_owner(len(kernel), owners), np.diag(kernel)
    own_kernel = kernel * own

    def mean(counts: Array) -> float:
        pairs = counts.sum() ** 2 - counts @ counts - counts @ own @ counts
        if pairs == 0:
            return float(counts @ diagonal / counts.sum())
        left_out = counts**2 @ diagonal + counts @ own_kernel @ counts
        return float((counts @ kernel @ counts - left_out) / pairs)

    return mean


def _across(kernel: Array, a: Array, b: Array) -> float:
    return float(a @ kernel @ b / (a.sum() * b.sum()))


def _of_volumes(kernel: Array, slices: int) -> Array:
    """The kernel of samples as that of volumes, the mean over their pairs of slices."""
    if slices == 1:
        return kernel
    n, m = (count // slices for count in kernel.shape)
    means: Array = kernel.reshape(n, slices, m, slices).mean(axis=(1, 3))
    return means
