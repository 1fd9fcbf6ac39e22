"""Slices of a volume in three planes, and the background cut.

Axes: volumes are [n, 1, D, H, W] = [n, 1, S, A, R]; fixing D gives an axial slice [H, W], fixing W a
sagittal slice [D, H], fixing H a coronal slice [D, W]. The centre of an axis of size s is index s // 2.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Values = TypeVar("Values", bound=np.generic)

# Short plane name -> the axis of [n, 1, D, H, W] that is fixed.
PLANE_AXES = {"ax": 2, "sag": 4, "cor": 3}
PLANES = tuple(PLANE_AXES)

AIR = -1.0
CUT_BELOW = -0.8


def plane_slices(volumes: NDArray[Values], count: int = 1) -> dict[str, NDArray[Values]]:
    """Cut every volume at evenly spaced positions in each plane; a single position is the centre.

    Args:
        volumes: [n, 1, D, H, W].
        count: Slices per plane, k; slice j of an axis of size s has index (j + 1) s // (k + 1).

    Returns:
        Per plane name ("ax", "sag", "cor") the slices, grouped by volume: [n k, 1, H, W],
        [n k, 1, D, H], [n k, 1, D, W].

    Raises:
        ValueError: If `volumes` does not have five axes.
    """
    if volumes.ndim != 5:
        raise ValueError(f"volumes must be [n, 1, D, H, W], got shape {volumes.shape}")
    slices = {}
    for plane, axis in PLANE_AXES.items():
        places = [(j + 1) * volumes.shape[axis] // (count + 1) for j in range(count)]
        stacked = np.moveaxis(volumes.take(places, axis), axis, 1)  # [n, k, 1, ...]
        slices[plane] = stacked.reshape(-1, *stacked.shape[2:])
    return slices


def centre_slices(volumes: NDArray[Values]) -> dict[str, NDArray[Values]]:
    """Cut every volume through its centre in each plane.

    Args:
        volumes: [n, 1, D, H, W].

    Returns:
        Per plane name ("ax", "sag", "cor") the slices: [n, 1, H, W], [n, 1, D, H], [n, 1, D, W].

    Raises:
        ValueError: If `volumes` does not have five axes.
    """
    return plane_slices(volumes)


def cut_background(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set everything below -0.8 (a tenth of the range above air) to air, -1.

    Skull-stripped air is exactly -1, and a pretrained network sees a residue of 0.02 there as texture.
    Comparing the distances with and without this cut separates air from anatomy.

    Args:
        images: Any shape, values in [-1, 1].

    Returns:
        A new array of the same shape.
    """
    return np.where(images < CUT_BELOW, np.float32(AIR), images)
