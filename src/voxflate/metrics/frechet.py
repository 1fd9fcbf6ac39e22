"""Frechet distance between two sets of features, each modelled as a Gaussian.

    d^2 = |mean_a - mean_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2))

(Dowson and Landau 1982; Heusel et al. 2017, Eq. 6). With hundreds of volumes and 1280 features, the
covariances are singular, and a matrix square root is slow and unreliable. Here each covariance is
kept as a root R with C = R^T R; the last trace is then the sum of the singular values of R_a R_b^T,
because (R_a R_b^T)^T (R_a R_b^T) and C_a C_b have the same non-zero eigenvalues. The centred features
are such a root, so for n and m samples one [n, m] decomposition suffices for any number of features.

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate.metrics.gram import Gram

Array = NDArray[np.float64]


def frechet_distance(features_a: NDArray[np.floating], features_b: NDArray[np.floating]) -> float:
    """Squared Frechet distance between the Gaussians fitted to two sets of features.

    The covariances are unbiased (divided by n - 1). The distance is biased upwards for few
    samples: compare only distances with equal n and m, and print both.

    Args:
        features_a: [n, f], n >= 2; n may be smaller than f.
        features_b: [m, f], m >= 2.

    Returns:
        The distance, never negative, in squared units of the features; computed in float64.

    Raises:
        VoxflateError: If a set has fewer than two samples, a value is not finite, or the
            numbers of features differ.
    """
    mean_a, root_a = _mean_and_root(features_a)
    mean_b, root_b = _mean_and_root(features_b)
    if mean_a.size != mean_b.size:
        raise VoxflateError(
            f"features must have the same length, got {mean_a.size} and {mean_b.size}; "
            "use the same extractor for both sets"
        )
    return _distance(mean_a, root_a, mean_b, root_b)


def frechet_distance_from_moments(
    mean_a: Array, covariance_a: Array, mean_b: Array, covariance_b: Array
) -> float:
    """Squared Frechet distance between two Gaussians given by their moments.

    Args:
        mean_a: [f].
        covariance_a: [f, f], symmetric, positive semi-definite (may be singular).
        mean_b: [f].
        covariance_b: [f, f].

    Returns:
        The distance, never negative; computed in float64.
    """
    return _distance(
        np.asarray(mean_a, np.float64),
        _covariance_root(covariance_a),
        np.asarray(mean_b, np.float64),
        _covariance_root(covariance_b),
    )


def weighted_frechet(gram: Gram) -> Callable[[Array, Array], dict[str, float]]:
    """The distance as a function of the samples' weights, for a bootstrap.

    Args:
        gram: Inner products of generated and real features.

    Returns:
        A function of weights [n] and [m] (whole numbers, not all zero) to {"": distance}; it equals
        `frechet_distance` of the sets with every sample repeated that often, to about 1e-6.
    """

    def distance(a: Array, b: Array) -> dict[str, float]:
        share_a, share_b = a / a.sum(), b / b.sum()
        from_a, from_b = gram.aa @ share_a, gram.bb @ share_b  # [n], [m]: with the mean of the own set
        across_a, across_b = gram.ab @ share_b, share_a @ gram.ab  # [n], [m]: with the mean of the other
        mean_a, mean_b, mean_ab = share_a @ from_a, share_b @ from_b, share_a @ across_a
        trace_a = (a @ np.diag(gram.aa) - a.sum() * mean_a) / (a.sum() - 1)
        trace_b = (b @ np.diag(gram.bb) - b.sum() * mean_b) / (b.sum() - 1)
        centred = gram.ab - across_a[:, None] - across_b[None] + mean_ab
        root = np.sqrt(a / (a.sum() - 1))[:, None] * centred * np.sqrt(b / (b.sum() - 1))[None]
        short = root if len(root) <= root.shape[1] else root.T
        # Singular values from the shorter side's products: eigenvalues are faster to compute.
        overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(short @ short.T), 0.0)).sum()
        shift = mean_a + mean_b - 2 * mean_ab
        return {"": max(0.0, float(shift + trace_a + trace_b - 2 * overlap))}

    return distance


def _mean_and_root(features: NDArray[np.floating]) -> tuple[Array, Array]:
    """Mean [f], and a root R [min(n, f), f] of the covariance: R^T R = C."""
    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[0] < 2:
        raise VoxflateError(
            f"a Frechet distance needs at least 2 samples as rows of features [n, f], got shape {x.shape}; "
            "generate more samples"
        )
    if not np.isfinite(x).all():
        raise VoxflateError(
            "features have NaN or infinite values; a sample is not finite: did training diverge?"
        )
    mean = x.mean(axis=0)
    root = (x - mean) / np.sqrt(x.shape[0] - 1)
    if root.shape[0] > root.shape[1]:
        root = np.linalg.qr(root, mode="r")
    return mean, root


def _covariance_root(covariance: Array) -> Array:
    """A root R [f, f] of a positive semi-definite matrix; rounding below zero counts as zero."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    root: Array = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    return root


def _distance(mean_a: Array, root_a: Array, mean_b: Array, root_b: Array) -> float:
    """The formula in the module's docstring; `root_a` [r, f] and `root_b` [s, f]."""
    shift = np.square(mean_a - mean_b).sum()
    traces = np.square(root_a).sum() + np.square(root_b).sum()
    overlap = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    # For equal sets, rounding may give a value just below zero.
    return max(0.0, float(shift + traces - 2.0 * overlap))
