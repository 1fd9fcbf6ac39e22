"""The voxels' coordinates in the real set's principal components, as features of whole volumes.

They need no network and no weights, so no discriminator can have learned them from ImageNet. They capture
size, position, contrast and coarse anatomy, but no fine texture.

Shape letters: n volumes; v voxels; k components.
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
    # The n x n inner products have the eigenvalues of the v x v covariance, and n is much smaller.
    values, vectors = torch.linalg.eigh((centred @ centred.t()).double())
    kept = min(components, len(volumes) - 1)
    values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
    scale = values.clamp(min=max(float(values.max()), 1e-30) * 1e-9).sqrt()
    return mean.numpy(), (centred.t() @ (vectors / scale).float()).numpy()


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
