"""How much the volumes of a set differ from each other.

A Frechet distance can hide a loss of diversity, so this is printed next to it. The value closest to that of
the real set is best, not the highest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from voxflate._system.errors import VoxflateError


def pairwise_l2(volumes: NDArray[np.float32], pairs: int = 1000, seed: int = 0) -> float:
    """Mean Euclidean distance between the two members of random pairs of different volumes.

    Args:
        volumes: [n, ...], n >= 2.
        pairs: Number of pairs to draw, with replacement; every pair once if there are no more than that.
        seed: Seed of the draw.

    Returns:
        Mean of sqrt(sum of squared differences), in units of the volumes; it grows with the
        square root of the number of voxels, so compare only values for the same shape.

    Raises:
        VoxflateError: If there are fewer than two volumes.
    """
    n = len(_at_least_two(volumes))
    first, second = np.triu_indices(n, k=1)
    if first.size > pairs:
        chosen = np.random.default_rng(seed).choice(first.size, pairs)
        first, second = first[chosen], second[chosen]
    flat = volumes.reshape(n, -1)
    # One pair at a time: a batch of differences of large volumes would not fit in memory.
    pairs_of = zip(first, second, strict=True)
    distances = [np.linalg.norm(np.subtract(flat[a], flat[b], dtype=np.float32)) for a, b in pairs_of]
    return float(np.mean(distances, dtype=np.float64))


def nearest_l2(volumes: NDArray[np.float32], owners: Sequence[str] | None = None) -> float:
    """Mean Euclidean distance of a volume to the most similar other one.

    Where a generator makes a few kinds of volume, the kinds keep `pairwise_l2` high and this falls. More
    volumes lie closer together, so compare only equal numbers.

    Args:
        volumes: [n, ...], n >= 2.
        owners: Person of each volume, [n]: volumes of the same one are not compared. None if all differ.

    Returns:
        In units of the volumes, like `pairwise_l2`; infinite if all are of one person.

    Raises:
        VoxflateError: If there are fewer than two volumes.
    """
    flat = np.asarray(_at_least_two(volumes), np.float32).reshape(len(volumes), -1)
    centred = flat - flat.mean(axis=0)  # otherwise the products below round away small distances
    products = (centred @ centred.T).astype(np.float64)
    squares = np.diag(products)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0))
    who = np.arange(len(flat)) if owners is None else np.asarray(owners)
    distances[who[:, None] == who] = np.inf
    return float(distances.min(axis=1).mean())


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances of pairs of volumes: two times [n, 1, D, H, W] -> [n]."""
    distances: Tensor = (a - b).flatten(1).norm(dim=1)
    return distances


def _at_least_two(volumes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same volumes, or an error."""
    if len(volumes) < 2:
        raise VoxflateError(f"diversity needs at least 2 volumes, got {len(volumes)}; generate more samples")
    return volumes
