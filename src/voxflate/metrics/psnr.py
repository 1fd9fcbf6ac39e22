"""Peak signal-to-noise ratio of pairs of volumes.

Generated volumes have no original, so the ratio needs a partner: a random real volume, the nearest one, or
the mean of the real volumes. None of the three measures realism: a blurred volume comes out better than
a sharp one. They are here because the field prints them (the paper's Table 8), beside the value among real
ones.

Shape letters: n, m volumes.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANGE = 2.0
"""Values lie in [-1, 1]."""

SMALLEST_ERROR = 1e-10
"""Equal volumes count with this squared error (106 dB), about what rounding to 16 bits leaves."""


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """10 log10(4 / mean squared difference) of pairs, dB.

    Args:
        a: [n, 1, D, H, W] in [-1, 1].
        b: The same shape, or one that broadcasts to it.

    Returns:
        [n]; 106 for equal volumes.
    """
    return from_error((a - b).square().flatten(1).mean(dim=1))


def from_error(error: Tensor) -> Tensor:
    """Mean squared error to dB."""
    return 10 * torch.log10(RANGE**2 / error.clamp(min=SMALLEST_ERROR))


def squared_errors(a: Tensor, others: Tensor) -> Tensor:
    """Mean squared error between every two volumes.

    Args:
        a: [n, 1, D, H, W].
        others: [m, 1, D, H, W].

    Returns:
        [n, m].
    """
    x, y = a.flatten(1), others.flatten(1)
    errors = x.square().sum(1, keepdim=True) - 2 * (x @ y.T) + y.square().sum(1)
    return (errors / x.shape[1]).clamp(min=0)
