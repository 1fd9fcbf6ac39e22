"""Distance between the distributions of two sets of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def wasserstein_1(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Wasserstein-1 distance: the mean distance by which values must move, in their unit.

    It is the area between the two cumulative distributions.

    Args:
        a: Values, [n].
        b: Values, [m].

    >>> wasserstein_1(np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    2.0
    """
    places = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(x), places[:-1], side="right") / len(x) for x in (a, b)]
    return float((np.abs(below[0] - below[1]) * np.diff(places)).sum())
