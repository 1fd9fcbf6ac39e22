"""Radiomic features of whole volumes: the Frechet radiomic distance (FRD) needs no weights.

Konz et al. 2024, "Fréchet Radiomic Distance", compare 2D images by the Frechet distance of standardised
radiomic features. Here the features are of volumes, and only of the image itself, without wavelets, so
distances differ from those of other implementations.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from voxflate._system.parallel import in_order, workers
from voxflate.metrics import radiomics
from voxflate.metrics.radiomics import radiomic_features


class Radiomics:
    """A `VolumeExtractor` of radiomic features, at the volumes' own size.

    Features have different units, so `standardise` requests division by the real set's deviations.
    """

    name = "radiomics"
    side = 0
    standardise = True

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the features' names and levels: there are no weights."""
        names = list(radiomic_features(np.zeros((2, 2, 2))))
        return hashlib.sha256(f"{radiomics.LEVELS} {names}".encode()).hexdigest()

    def __call__(self, volumes: Tensor) -> Tensor:
        """Features of volumes: [n, 1, D, H, W] in [-1, 1] -> float32 [n, 65].

        Raises:
            ValueError: If `volumes` is not [n, 1, D, H, W] with n >= 1.
        """
        if volumes.ndim != 5 or volumes.shape[1] != 1 or volumes.shape[0] == 0:
            raise ValueError(f"volumes must be [n, 1, D, H, W] with n >= 1, got {tuple(volumes.shape)}")
        with workers() as pool:
            found = list(in_order(pool, radiomic_features, list(volumes[:, 0].float().cpu().numpy())))
        return torch.tensor([list(one.values()) for one in found], dtype=torch.float32)
