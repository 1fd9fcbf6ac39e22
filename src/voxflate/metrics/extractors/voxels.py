"""The voxels' coordinates in the real set's principal components, as features of whole volumes.

They need no network and no weights, so no discriminator can have learned them from ImageNet. They capture
size, position, contrast and coarse anatomy, but no fine texture.

Shape letters: n volumes, m of them fitted; v voxels; k components.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

VOXELS = "voxels"
"""Name in metrics."""

COMPONENTS = 40
"""Number of principal components."""

FITTED = 512
"""The components are computed from at most this many real volumes."""


def principal_components(
    volumes: NDArray[np.floating], components: int = COMPONENTS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and principal axes of the voxels of a set.

    Args:
        volumes: [n, C, D, H, W] with n >= 2.
        components: Number of axes; at most n - 1 exist.

    Returns:
        The mean [v], and the axes [v, k] as orthonormal columns, largest variance first.

    Raises:
        ValueError: If there are fewer than 2 volumes.
    """
    if len(volumes) < 2:
        raise ValueError(f"principal components need at least 2 volumes, got {len(volumes)}")
    flat = torch.from_numpy(np.ascontiguousarray(volumes, np.float32)).flatten(1)  # [n, v]
    mean = flat.mean(dim=0)
    centred = flat - mean
    return mean.numpy(), (centred.t() @ _shares((centred @ centred.t()).double(), components).float()).numpy()


def coordinates(
    products: NDArray[np.floating], fitted: NDArray[np.integer], components: int = COMPONENTS
) -> NDArray[np.float32]:
    """Coordinates of all volumes in the principal components of some of them, without the voxels.

    Args:
        products: Inner products of the volumes' differences from some one image, [n, n].
        fitted: Indices of the m volumes whose components are taken, m >= 2.
        components: Number of axes; at most m - 1 exist.

    Returns:
        [n, k]; what `VoxelComponents` gives with their `principal_components`, up to signs.
    """
    known = torch.from_numpy(np.asarray(products, np.float64))[:, torch.from_numpy(fitted)]  # [n, m]
    with_mean = known.mean(dim=1, keepdim=True)
    centred = known - with_mean - with_mean[fitted].t() + with_mean[fitted].mean()
    result: NDArray[np.float32] = (centred @ _shares(centred[fitted], components)).float().numpy()
    return result


def _shares(products: Tensor, components: int) -> Tensor:
    """Shares [m, k] of the volumes in the axes, from the inner products [m, m] of the centred volumes."""
    # They have the eigenvalues of the v x v covariance, and m is much smaller.
    values, vectors = torch.linalg.eigh(products)
    kept = min(components, len(products) - 1)
    values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
    shares: Tensor = vectors / values.clamp(min=max(float(values.max()), 1e-30) * 1e-9).sqrt()
    return shares


class VoxelComponents:
    """Coordinates of volumes in the principal components of a set of real ones.

    Args:
        mean: Mean volume, [v].
        axes: Principal axes, [v, k].
        content: Hash of the set, so that cached features of different sets are kept apart.
    """

    name = VOXELS

    def __init__(self, mean: NDArray[np.float32], axes: NDArray[np.float32], content: str) -> None:
        self._mean, self._axes = torch.from_numpy(mean), torch.from_numpy(axes)
        self.weights_sha256 = content
        self.side = axes.shape[1]

    def __call__(self, volumes: Tensor) -> Tensor:
        """[n, C, D, H, W] -> [n, k], in the units of the voxels."""
        features: Tensor = (volumes.float().flatten(1).cpu() - self._mean) @ self._axes
        return features
