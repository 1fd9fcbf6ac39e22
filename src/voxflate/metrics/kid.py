"""Kernel distance between two sets of features (KID; Binkowski et al. 2018).

The squared maximum mean discrepancy with the kernel k(x, y) = (x.y / f + 1)^3, in its unbiased form: unlike a
Frechet distance it is not raised by small sets, so values for different numbers of samples are comparable. It
can be slightly below zero for similar sets.

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.metrics.gram import Gram

Array = NDArray[np.float64]


def kernel_distance(features_a: NDArray[np.floating], features_b: NDArray[np.floating]) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel.

    Args:
        features_a: [n, f], n >= 2.
        features_b: [m, f], m >= 2.

    Returns:
        The estimate, without a unit; computed in float64.

    Raises:
        VoxflateError: If a set has fewer than two samples.
    """
    a, b = np.asarray(features_a, np.float64), np.asarray(features_b, np.float64)
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise VoxflateError(
            f"a kernel distance needs at least 2 samples of each set, got {n} and {m}; add samples"
        )
    inside_a, inside_b, across = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    # A sample's kernel with itself tells nothing about the distribution, so the diagonals are left out.
    mean_a = (inside_a.sum() - np.trace(inside_a)) / (n * (n - 1))
    mean_b = (inside_b.sum() - np.trace(inside_b)) / (m * (m - 1))
    return float(mean_a + mean_b - 2 * across.mean())


def weighted_kernel_distance(gram: Gram) -> Callable[[Array, Array], dict[str, float]]:
    """The distance as a function of the samples' weights, for a bootstrap.

    A sample's kernel with its own copy is left out, because it would raise every replicate.

    Args:
        gram: Inner products of generated and real features.

    Returns:
        A function of weights [n] and [m] to {"": distance}.
    """
    inside_a, inside_b, across = ((x / gram.length + 1) ** 3 for x in (gram.aa, gram.bb, gram.ab))

    def distance(a: Array, b: Array) -> dict[str, float]:
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


def _kernel(a: Array, b: Array) -> Array:
    """[n, f], [m, f] -> [n, m]."""
    values: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return values
