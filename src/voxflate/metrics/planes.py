"""The three centre slices of a volume, and the background cut.

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


def centre_slices(volumes: NDArray[Values]) -> dict[str, NDArray[Values]]:
    """Cut every volume through its centre, once per plane.

    Args:
        volumes: [n, 1, D, H, W].

    Returns:
        Per plane name ("ax", "sag", "cor") the slices: [n, 1, H, W], [n, 1, D, H], [n, 1, D, W].

    Raises:
        ValueError: If `volumes` does not have five axes.
    """
    if volumes.ndim != 5:
        raise ValueError(f"volumes must be [n, 1, D, H, W], got shape {volumes.shape}")
    return {plane: volumes.take(volumes.shape[axis] // 2, axis) for plane, axis in PLANE_AXES.items()}


def cut_background(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set everything below -0.8 (a tenth of the range above air) to air, -1.

    Skull-stripped air is exactly -1, and a pretrained network sees a residue of 0.02 there as texture.
    The distance after this cut, next to the plain one, tells air from anatomy.

    Args:
        images: Any shape, values in [-1, 1].

    Returns:
        A new array of the same shape.
    """
    return np.where(images < CUT_BELOW, np.float32(AIR), images)
