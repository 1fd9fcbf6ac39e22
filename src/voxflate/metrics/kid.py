"""Kernel distance between two sets of features (KID; Binkowski et al. 2018).

The squared maximum mean discrepancy with the kernel k(x, y) = (x.y / f + 1)^3, in its unbiased form: unlike
a Frechet distance it is not raised by small sets, so figures of different numbers of samples compare. It may
come out slightly below zero for sets that are alike.

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxflate.errors import VoxflateError

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
    # A sample's kernel with itself is no evidence about the distribution: the diagonals stay out.
    mean_a = (inside_a.sum() - np.trace(inside_a)) / (n * (n - 1))
    mean_b = (inside_b.sum() - np.trace(inside_b)) / (m * (m - 1))
    return float(mean_a + mean_b - 2 * across.mean())


def _kernel(a: Array, b: Array) -> Array:
    """[n, f], [m, f] -> [n, m]."""
    values: Array = (a @ b.T / a.shape[1] + 1) ** 3
    return values
