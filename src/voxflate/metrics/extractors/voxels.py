"""Voxels in the real set's principal components, as features of whole volumes.

No network and no weights: what these features see, no discriminator can have learned from ImageNet. They know
size, position, contrast and coarse anatomy, and are blind to fine texture.

Shape letters: n volumes; v voxels; k components.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

COMPONENTS = 40
"""Principal components that are kept."""

FITTED = 512
"""The components are those of at most this many real volumes."""


class VoxelComponents:
    """Coordinates of volumes in the principal components of a set of real ones.

    Args:
        volumes: The real set, or a random part of it, [n, C, D, H, W] with n >= 2.
        content: Hash of the set, so that cached features of two sets are told apart.
        components: How many are kept; at most n - 1 exist.

    Raises:
        ValueError: If there are fewer than 2 volumes.
    """

    name = "voxels"

    def __init__(self, volumes: NDArray[np.floating], content: str, components: int = COMPONENTS) -> None:
        if len(volumes) < 2:
            raise ValueError(f"principal components need at least 2 volumes, got {len(volumes)}")
        flat = torch.from_numpy(np.ascontiguousarray(volumes, np.float32)).flatten(1)  # [n, v]
        self._mean = flat.mean(dim=0)
        centred = flat - self._mean
        # The n x n inner products have the eigenvalues of the v x v covariance, and n is far smaller.
        values, vectors = torch.linalg.eigh((centred @ centred.t()).double())
        kept = min(components, len(volumes) - 1)
        values, vectors = values.flip(0)[:kept], vectors.flip(1)[:, :kept]
        scale = values.clamp(min=values.max() * 1e-9).sqrt()
        self._axes = (centred.t().double() @ (vectors / scale)).float()  # [v, k], orthonormal columns
        self.weights_sha256 = content
        self.side = kept

    def __call__(self, volumes: Tensor) -> Tensor:
        """[n, C, D, H, W] -> [n, k], in the units of the voxels."""
        features: Tensor = (volumes.float().flatten(1).cpu() - self._mean) @ self._axes
        return features
