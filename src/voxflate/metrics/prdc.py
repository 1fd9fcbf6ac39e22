"""Precision, recall, density and coverage: how real samples are, and how much of the real they reach.

Each set is taken as balls around its samples, as wide as the distance to the k-th nearest of the same set
(Kynkaanniemi et al. 2019 for precision and recall; Naeem et al. 2020 for density and coverage).

Shape letters: n real, m generated samples; f features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from voxflate.errors import VoxflateError

NEIGHBOURS = 5
"""k of the k-th nearest neighbour, as in Naeem et al."""


def prdc(
    real: NDArray[np.floating], generated: NDArray[np.floating], neighbours: int = NEIGHBOURS
) -> dict[str, float]:
    """Four shares, without a unit.

    Args:
        real: [n, f], n > neighbours.
        generated: [m, f], m > neighbours.
        neighbours: k.

    Returns:
        "precision": share of generated samples inside the ball of a real one. "recall": share of real samples
        inside the ball of a generated one. "density": real balls that a generated sample lies in, divided by
        k, in the mean (may exceed 1). "coverage": share of real balls that hold a generated sample.

    Raises:
        VoxflateError: If a set has no k-th neighbour.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise VoxflateError(
            f"precision and recall need more than {neighbours} samples of each set, got {len(real)} real and "
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


def _radii(features: NDArray[np.floating], neighbours: int) -> NDArray[np.float64]:
    """Distance of each sample to its k-th nearest other, [n]."""
    x = np.asarray(features, np.float64)
    # The nearest of all is the sample itself, so the k-th other stands at index k.
    radii: NDArray[np.float64] = np.partition(cdist(x, x), neighbours, axis=1)[:, neighbours]
    return radii
