"""Kernel distance between two sets of features (KID; Binkowski et al. 2018).

The squared maximum mean discrepancy with the kernel k(x, y) = (x.y / f + 1)^3, in its unbiased form: unlike a
Frechet distance it is not raised by small sets, so values for different numbers of samples are comparable. It
can be slightly below zero for similar sets.

Slices of one volume are not independent: their pairs would bias it, most for a small set. They are left out,
as a sample's pair with itself is (decision 0192).

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.metrics.gram import Gram

Array = NDArray[np.float64]


def kernel_distance(
    features_a: NDArray[np.floating], features_b: NDArray[np.floating], slices: int = 1
) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel.

    Args:
        features_a: [n x slices, f], grouped by volume, n >= 2.
        features_b: [m x slices, f], m >= 2.
        slices: Samples per volume; pairs within one volume are left out.

    Returns:
        The estimate, without a unit; computed in float64.

    Raises:
        VoxflateError: If a set has fewer than two samples (with several slices: samples of two volumes).
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    n, m = len(a) // slices, len(b) // slices
    if min(n, m) < 2:
        raise VoxflateError(
            f"a kernel distance needs at least 2 samples of each set, got {n} and {m}; add samples"
        )
    inside_a, inside_b, across = (_kernel(x, y, slices) for x, y in ((a, a), (b, b), (a, b)))
    # A sample's kernel with itself tells nothing about the distribution, so the diagonals are left out.
    mean_a = (inside_a.sum() - np.trace(inside_a)) / (n * (n - 1))
    mean_b = (inside_b.sum() - np.trace(inside_b)) / (m * (m - 1))
    return float(mean_a + mean_b - 2 * across.mean())


def weighted_kernel_distance(gram: Gram, slices: int = 1) -> Callable[[Array, Array], dict[str, float]]:
    """The distance as a function of the samples' weights, for a bootstrap.

    A sample's kernel with its own copy is left out, because it would raise every replicate.

    Args:
        gram: Inner products of generated and real features.
        slices: Samples per volume, which have equal weights; pairs within one volume are left out.

    Returns:
        A function of weights [n x slices] and [m x slices] to {"": distance}.
    """
    inside_a, inside_b, across = (
        _of_volumes((x / gram.length + 1) ** 3, slices) for x in (gram.aa, gram.bb, gram.ab)
    )

    def distance(a: Array, b: Array) -> dict[str, float]:
        a, b = a[::slices], b[::slices]
        return {"": float(_inside(inside_a, a) + _inside(inside_b, b) - 2 * _across(across, a, b))}

    return distance


def _inside(kernel: Array, counts: Array) -> float:
    """Mean of the kernel [n, n] over pairs of different drawn samples."""
    pairs = counts.sum() ** 2 - counts @ counts
    if pairs == 0:
        return float(counts @ np.diag(kernel) / counts.sum())
    return float((counts @ kernel @ counts - counts**2 @ np.diag(kernel)) / pairs)


def _across(kernel: Array, a: Array, b: Array) -> float:
    return float(a @ kernel @ b / (a.sum() * b.sum()))


def _kernel(a: Array, b: Array, slices: int) -> Array:
    """[n x slices, f], [m x slices, f] -> [n, m]."""
    return _of_volumes((a @ b.T / a.shape[1] + 1) ** 3, slices)


def _of_volumes(kernel: Array, slices: int) -> Array:
    """The kernel of samples as that of volumes, the mean over their pairs of slices."""
    if slices == 1:
        return kernel
    n, m = (count // slices for count in kernel.shape)
    means: Array = kernel.reshape(n, slices, m, slices).mean(axis=(1, 3))
    return means
