"""Agreement of two masks of one structure: overlap, and the distance between their surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt

Mask = NDArray[np.bool_]

PERCENTILE = 95


def dice(a: Mask, b: Mask) -> float:
    """Dice coefficient: twice the number of shared voxels divided by the voxels of both masks.

    Args:
        a: Mask, any shape.
        b: Another mask of the same shape.

    Returns:
        From 0 to 1; 1 if both are empty.

    >>> dice(np.array([True, True, False]), np.array([True, False, False])) == 2 / 3
    True
    """
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


def hausdorff_95(a: Mask, b: Mask, spacing: Sequence[float]) -> float:
    """95th-percentile Hausdorff distance of the surfaces, the larger one of the two directions.

    A surface voxel has a face neighbour outside the mask.

    Args:
        a: Mask, [D, H, W].
        b: Another mask of the same shape.
        spacing: Voxel sides, mm, in the order of the axes.

    Returns:
        mm; 0 if both are empty. If only one is empty, the diagonal of the volume, which is the maximum:
        leaving out a missed structure would improve the mean.
    """
    if not a.any() or not b.any():
        return 0.0 if a.any() == b.any() else float(np.linalg.norm(np.multiply(a.shape, spacing)))
    surfaces = [mask & ~binary_erosion(mask) for mask in (a, b)]
    directed = [
        np.percentile(distance_transform_edt(~end, sampling=spacing)[start], PERCENTILE)
        for start, end in (surfaces, surfaces[::-1])
    ]
    return float(max(directed))
