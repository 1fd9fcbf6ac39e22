"""Multi-scale structural similarity of volumes (Wang, Simoncelli and Bovik 2003), in two forms.

`ms_ssim` is the published formula in 3D with a kernel that fits small volumes. `ms_ssim_kwon` gives the
values of the evaluation code that the field compares with (Kwon et al. 2019), including its peculiarities.
Both are computed over pairs of volumes; as a measure of diversity, the value closest to that of pairs of real
volumes is best, not the lowest (decision 0043 explains why we have our own code).

Shape letters: n pairs; D, H, W voxels.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from voxflate._system.errors import VoxflateError

# Weights of the scales, finest first (Wang et al. 2003, Sec. 3.2).
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_KERNEL, _SIGMA = 11, 1.5  # of the original, for images of hundreds of pixels
_SMALLEST_KERNEL = 3
_K1, _K2 = 0.01, 0.03
_KWON_KERNEL = 13  # SciPy's gaussian_filter with a sigma of 1.5 ends after 4 sigma
_KWON_SMALLEST_SIDE = 16


def levels_and_kernel(smallest_side: int) -> tuple[int, int]:
    """The most levels, up to 5, for which the largest kernel by size // (levels - 1)^2 > kernel - 1 is >= 3.

    Args:
        smallest_side: Shortest side of the volume, voxels.

    Returns:
        Levels, and the kernel's side: odd, at most 11.

    Raises:
        VoxflateError: If the side is below 3 voxels.

    >>> [levels_and_kernel(side) for side in (8, 16, 32, 64, 128)]
    [(2, 3), (3, 3), (4, 3), (5, 3), (5, 7)]
    """
    for levels in range(len(WEIGHTS), 0, -1):
        kernel = min(_KERNEL, smallest_side // max(1, levels - 1) ** 2, smallest_side >> (levels - 1))
        kernel -= kernel % 2 == 0
        if kernel >= _SMALLEST_KERNEL:
            return levels, kernel
    raise VoxflateError(f"MS-SSIM needs sides of at least {_SMALLEST_KERNEL} voxels, got {smallest_side}")


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM of pairs of volumes, data range 2.

    Levels and kernel by `levels_and_kernel`, a Gaussian with the original's proportions (sigma 1.5 for
    11 taps), weights of the used levels divided by their sum, 2x2x2 means between levels, no padding at the
    edges. A negative factor counts as zero.

    Args:
        a: [n, 1, D, H, W] in [-1, 1].
        b: The same shape.

    Returns:
        [n], 1 for equal volumes.

    Raises:
        VoxflateError: If a side is below 3 voxels.
    """
    levels, kernel = levels_and_kernel(min(a.shape[2:]))
    weights = torch.tensor(WEIGHTS[:levels])
    weights /= weights.sum()
    scales = []
    for level in range(levels):
        if level:
            a, b = (functional.avg_pool3d(x, 2) for x in (a, b))
        scales.append(_ssim(a, b, kernel, _SIGMA * kernel / _KERNEL, data_range=2.0))
    factors = torch.stack([contrast for _, contrast in scales[:-1]] + [scales[-1][0]])  # [levels, n]
    powers: Tensor = factors.clamp(min=0) ** weights[:, None]
    return powers.prod(dim=0)


def ms_ssim_kwon(a: Tensor, b: Tensor) -> Tensor:
    """MS-SSIM as the code of Kwon et al. computes it for one pair of volumes (decision 0208).

    Always 5 levels; a Gaussian of sigma 1.5, cut at 6 voxels, at every voxel, over edges that reflect the
    volume; constants for a data range of 1 although values are in [-1, 1]; and the last level's factor raised
    once per earlier level. A negative factor, for which that code gives NaN, counts as zero. That code
    halves the volume once more after the last level, so it needs sides of 32; the value is defined from 16.

    Args:
        a: [n, 1, D, H, W] in [-1, 1].
        b: The same shape.

    Returns:
        [n], 1 for equal volumes.

    Raises:
        VoxflateError: If a side is below 16 voxels, which cannot be halved four times.
    """
    if min(a.shape[2:]) < _KWON_SMALLEST_SIDE:
        raise VoxflateError(
            f"MS-SSIM with 5 levels needs sides of at least {_KWON_SMALLEST_SIDE} voxels, got "
            f"{min(a.shape[2:])}"
        )
    contrasts = []
    for level, _ in enumerate(WEIGHTS):
        if level:
            a, b = (functional.avg_pool3d(x, 2) for x in (a, b))
        similarity, contrast = _ssim(a, b, _KWON_KERNEL, _SIGMA, data_range=1.0, reflect=True)
        contrasts.append(contrast)
    earlier = torch.stack(contrasts[:-1]).clamp(min=0) ** torch.tensor(WEIGHTS[:-1])[:, None]
    last: Tensor = similarity.clamp(min=0) ** (WEIGHTS[-1] * (len(WEIGHTS) - 1))
    return earlier.prod(dim=0) * last


def _ssim(
    a: Tensor, b: Tensor, kernel: int, sigma: float, data_range: float, reflect: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean similarity and mean contrast-structure factor of each pair, [n] and [n]."""
    maps = torch.stack([a[:, 0], b[:, 0], a[:, 0] ** 2, b[:, 0] ** 2, a[:, 0] * b[:, 0]], dim=1)
    # A Gaussian along one axis after the other, as products with a band of taps: seven times as fast
    # as a convolution.
    depth, height, width = (_band(size, kernel, sigma, reflect) for size in maps.shape[2:])
    maps = height.T @ (maps @ width)
    maps = (depth.T @ maps.flatten(3)).unflatten(3, maps.shape[3:])  # [n, 5, D - k + 1, ...] if not reflected
    mean_a, mean_b, square_a, square_b, product = maps.unbind(dim=1)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    covariance = product - mean_a * mean_b
    variances = (square_a - mean_a**2).clamp(min=0) + (square_b - mean_b**2).clamp(min=0)
    contrast = (2 * covariance + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * contrast).flatten(1).mean(dim=1), contrast.flatten(1).mean(dim=1)


@lru_cache(maxsize=64)
def _band(size: int, kernel: int, sigma: float, reflect: bool) -> Tensor:
    """A Gaussian filter as a matrix; its columns sum to one.

    Returns:
        [size, size - kernel + 1], or [size, size] with edges that reflect the volume, edge voxels included.
    """
    places = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
    taps = torch.exp(-places.square() / (2 * sigma**2))
    taps = (taps / taps.sum()).float()
    outside = kernel // 2 if reflect else 0
    band = torch.zeros(size, size - kernel + 1 + 2 * outside)
    for column in range(band.shape[1]):
        rows = (torch.arange(kernel) + column - outside) % (2 * size)
        band[:, column].index_add_(0, torch.minimum(rows, 2 * size - 1 - rows), taps)
    return band
