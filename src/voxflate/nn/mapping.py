"""Mapping network f: Z -> W, with the running mean of w for truncation (Sec. 3.1.1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from voxflate.nn.functional import pixel_norm
from voxflate.nn.layers import EqualLinear

W_AVG_DECAY = 0.998
"""Decay of the running mean of w per batch (StyleGAN)."""


class Mapping(nn.Module):
    """Eight fully connected layers from a latent code z to a style code w.

    Args:
        z_dim: Length of z.
        w_dim: Length of w.
        layers: Number of layers; 8 reproduces the paper's parameter counts.
    """

    w_avg: Tensor

    def __init__(self, z_dim: int = 64, w_dim: int = 64, layers: int = 8) -> None:
        super().__init__()
        sizes = [z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=0.01, activation=True) for a, b in pairwise(sizes)
        )
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, truncation_psi: float = 1.0) -> Tensor:
        """Map latent codes to style codes.

        Args:
            z: [N, z_dim], standard normal.
            truncation_psi: Pull towards the mean style: 1 leaves w alone, 0 gives the mean.

        Returns:
            w, [N, w_dim].
        """
        w = pixel_norm(z)
        for layer in self.layers:
            w = layer(w)
        if self.training:
            self.w_avg.lerp_(w.detach().mean(dim=0).to(self.w_avg.dtype), 1 - W_AVG_DECAY)
        if truncation_psi != 1.0:
            w = self.w_avg.lerp(w, truncation_psi)
        return w
