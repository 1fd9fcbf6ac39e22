"""Mapping network f: Z -> W, with the running mean of w for truncation (Sec. 3.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from voxflate.nn.functional import pixel_norm
from voxflate.nn.layers import EqualLinear, check_labels

W_AVG_DECAY = 0.998
"""Decay of the running mean of w per step; our choice. It affects only truncated samples."""


class Mapping(nn.Module):
    """Fully connected layers from a latent code z to a style code w.

    Labels are embedded as a vector as long as z. Both are normalised and concatenated, so that neither
    outweighs the other (decision 0126).

    Args:
        z_dim: Length of z.
        w_dim: Length of w.
        layers: Number of layers. 8 reproduces the paper's parameter counts; we recommend 2 (decision 0182).
        label_width: Length of the label vectors; 0 for none.

    Source: Karras et al. 2020, "Training generative adversarial networks with limited data", Appendix C.
    """

    w_avg: Tensor

    def __init__(self, z_dim: int = 64, w_dim: int = 64, layers: int = 8, label_width: int = 0) -> None:
        super().__init__()
        self.embed = _label_embedding(label_width, z_dim) if label_width else None
        sizes = [2 * z_dim if label_width else z_dim] + [w_dim] * layers
        self.layers = nn.ModuleList(
            EqualLinear(a, b, lr_multiplier=0.01, activation=True) for a, b in pairwise(sizes)
        )
        self.register_buffer("w_avg", torch.zeros(w_dim))
        self._seen: Tensor | None = None  # sum of the styles since the last step, and their number

    def forward(self, z: Tensor, truncation_psi: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """Map latent codes to style codes.

        Args:
            z: [N, z_dim], standard normal.
            truncation_psi: Pull towards the mean style: 1 leaves w unchanged, 0 gives the mean.
            labels: Label vectors, [N, label_width]; None for a network without labels.

        Returns:
            w, [N, w_dim].

        Raises:
            ValueError: If it needs labels and none are given, or vice versa.
        """
        check_labels(self.embed, labels)
        w = pixel_norm(z)
        if self.embed is not None:
            w = torch.cat([w, pixel_norm(self.embed(labels))], dim=1)
        for layer in self.layers:
            w = layer(w)
        if self.training:
            ones = w.new_ones(len(w), 1)
            seen = torch.cat([w.detach(), ones], dim=1).sum(dim=0)
            self._seen = seen if self._seen is None else self._seen + seen
        if truncation_psi != 1.0:
            w = self.w_avg.lerp(w, truncation_psi)
        return w

    @torch.no_grad()
    def after_step(self, sum_: Callable[[Sequence[Tensor]], None]) -> None:
        """Move the mean style towards the styles seen since the last call.

        Args:
            sum_: Sums tensors over all processes, in place.
        """
        if self._seen is None:
            return
        total, self._seen = self._seen, None
        sum_([total])
        self.w_avg.lerp_((total[:-1] / total[-1]).to(self.w_avg.dtype), 1 - W_AVG_DECAY)

    def forget_step(self) -> None:
        """Discard the styles seen since the last `after_step`, because their step failed."""
        self._seen = None


def _label_embedding(label_width: int, z_dim: int) -> EqualLinear:
    """A random bias, so that a single number keeps more than its sign after the normalisation."""
    embed = EqualLinear(label_width, z_dim)
    nn.init.normal_(embed.bias)
    return embed
