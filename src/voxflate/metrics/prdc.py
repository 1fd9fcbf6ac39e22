"""Precision, recall, density and coverage: how realistic samples are, and how much of the data they cover.

Each set is modelled by balls around its samples, with the distance to the k-th nearest neighbour in the same
set as radius (Kynkaanniemi et al. 2019 for precision and recall; Naeem et al. 2020 for density and coverage).

Shape letters: n real, m generated samples; f features.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from voxflate._system.errors import VoxflateError
from voxflate.metrics.gram import Gram

Array = NDArray[np.float64]

NEIGHBOURS = 5
"""k of the k-th nearest neighbour, as in Naeem et al."""


def prdc(
    real: NDArray[np.floating], generated: NDArray[np.floating], neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """Compute the four metrics, without a unit.

    Args:
        real: [n, f], n > neighbours.
        generated: [m, f], m > neighbours.
        neighbours: k.

    Returns:
        "precision": share of generated samples inside the ball of a real one. "recall": share of real samples
        inside the ball of a generated one. "density": mean number of real balls around a generated sample,
        divided by k (can exceed 1). "coverage": share of real balls that contain a generated sample.

    Raises:
        VoxflateError: If a set has too few samples for a k-th neighbour.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise VoxflateError(
            f"precision and recall need more than {neighbours} samples in each set, got {len(real)} real and "
            f"{len(generated)} generated ones; add samples"
        )
    distances = cdist(np.asarray(real, np.float64), np.asarray(generated, np.float64))  # [n, m]
    radius_real, radius_generated = _radii(real, neighbours), _radii(generated, neighbours)
    in_real = distances < radius_real[:, None]
    return {
        "precision": float(in_real.any(axis=0).mean()),
        "recall": float((distances < radius_generated[None]).any(axis=1).mean()),
        "density": float(in_real.sum(axis=0).mean() / neighbours),
        "coverage": float(in_real.any(axis=1).mean()),
    }


def weighted_prdc(gram: Gram) -> Callable[[Array, Array], dict[str, float]]:
    """The four metrics as a function of the samples' weights, for a bootstrap.

    The balls keep the radii of the whole sets: a copy of a sample would be its own nearest neighbour.

    Args:
        gram: Inner products of generated and real features.

    Returns:
        A function of weights [n] of generated and [m] of real samples to the metrics of `prdc`.
    """
    within_a, within_b, across = (np.sqrt(x) for x in gram.squared_distances())
    radius_a, radius_b = (np.partition(x, NEIGHBOURS, axis=1)[:, NEIGHBOURS] for x in (within_a, within_b))
    in_real, in_generated = across < radius_b[None], across < radius_a[:, None]  # [n, m]

    def shares(a: Array, b: Array) -> dict[str, float]:
        here_a, here_b = a > 0, b > 0
        return {
            "precision": float(a @ in_real[:, here_b].any(axis=1) / a.sum()),
            "recall": float(b @ in_generated[here_a].any(axis=0) / b.sum()),
            "density": float(a @ (in_real @ b) / (a.sum() * NEIGHBOURS)) * len(b) / b.sum(),
            "coverage": float(b @ in_real[here_a].any(axis=0) / b.sum()),
        }

    return shares


def _radii(features: NDArray[np.floating], neighbours: int) -> NDArray[np.float64]:
    """Distance of each sample to its k-th nearest neighbour, [n]."""
    x = np.asarray(features, np.float64)
    # The nearest one is the sample itself, so the k-th neighbour is at index k.
    radii: NDArray[np.float64] = np.partition(cdist(x, x), neighbours, axis=1)[:, neighbours]
    return radii
