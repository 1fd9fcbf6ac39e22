"""Peak signal-to-noise ratio of pairs of volumes.

Generated volumes have no original, so the ratio needs a partner: a random real volume, the nearest one, or
the mean of the real volumes. None of the three measures realism: a blurred volume scores higher than a sharp
one. They are included because the field reports them (the paper's Table 8), next to the value among real
volumes.

Shape letters: n, m volumes.
"""

from __future__ import annotations

import torch
from torch import Tensor

RANGE = 2.0
"""Range of the values, which are in [-1, 1]."""

SMALLEST_ERROR = 1e-10
"""Smallest squared error, about that of rounding to 16 bits: the maximum is 106 dB."""

_CANCELS = 1e-3  # of the squared norm; smaller errors cancel in float32


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """10 log10(4 / mean squared difference) of pairs, dB.

    Args:
        a: [n, 1, D, H, W] in [-1, 1].
        b: The same shape, or one that broadcasts to it.

    Returns:
        [n]; at most 106.02, the value of equal volumes.
    """
    return from_error((a - b).square().flatten(1).mean(dim=1))


def from_error(error: Tensor) -> Tensor:
    """Convert a mean squared error to dB."""
    return 10 * torch.log10(RANGE**2 / error.clamp(min=SMALLEST_ERROR))


def squared_errors(a: Tensor, others: Tensor) -> Tensor:
    """Mean squared error of every volume of one set to every volume of another.

    |x|^2 - 2xy + |y|^2 is a matrix product, but cancels if two volumes are close; those few pairs are
    subtracted directly.

    Args:
        a: [n, 1, D, H, W].
        others: [m, 1, D, H, W].

    Returns:
        [n, m]; exactly 0 for equal volumes.
    """
    x, y = a.flatten(1), others.flatten(1)
    norms = x.square().sum(1, keepdim=True) + y.square().sum(1)  # [n, m]
    errors = (norms - 2 * (x @ y.T)) / x.shape[1]
    for i, j in (errors * x.shape[1] <= _CANCELS * norms).nonzero().tolist():
        errors[i, j] = (x[i] - y[j]).square().mean()
    return errors
