"""Inner products of two sets of features, from which metrics can be recomputed for other weights.

A bootstrap replicate draws every sample 0, 1, 2, ... times. With the inner products, a replicate takes
milliseconds for any number of features.

Shape letters: n, m samples; f features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gram:
    """Inner products of generated (a) and real (b) features.

    Attributes:
        aa: [n, n], generated with generated.
        bb: [m, m], real with real.
        ab: [n, m], generated with real.
        length: Number of features, f.
    """

    aa: Array
    bb: Array
    ab: Array
    length: int

    @classmethod
    def of(cls, generated: NDArray[np.floating], real: NDArray[np.floating]) -> Gram:
        """Inner products of [n, f] and [m, f]."""
        b = np.asarray(real, np.float64)
        a = np.asarray(generated, np.float64)
        return cls(a @ a.T, b @ b.T, a @ b.T, a.shape[1])

    def squared_distances(self) -> tuple[Array, Array, Array]:
        """Squared Euclidean distances: generated to generated, real to real, generated to real."""
        na, nb = np.diag(self.aa), np.diag(self.bb)
        pairs = (
            na[:, None] + na[None] - 2 * self.aa,
            nb[:, None] + nb[None] - 2 * self.bb,
            na[:, None] + nb[None] - 2 * self.ab,
        )
        within_a, within_b, across = (np.maximum(pair, 0.0) for pair in pairs)
        return within_a, within_b, across
