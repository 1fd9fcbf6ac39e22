"""Moving average of the generator's weights, used for samples."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

RUNNING = ("running_mean", "running_var")


class Ema:
    """Exponential moving average whose half-life grows during training.

    Args:
        generator: The network to follow; its weights are the first average. Running statistics of batch
            normalisation are averaged like weights; other buffers are copied.
        fraction: Half-life as a fraction of the images seen so far. A fixed half-life would remember the
            first, worst networks for a long time (decision 0011).
        limit: Longest half-life, in images; 0 for none.
    """

    def __init__(self, generator: nn.Module, fraction: float, limit: float = 0.0) -> None:
        self.generator = copy.deepcopy(generator).requires_grad_(False)
        self.fraction = fraction
        self.limit = limit

    def decay(self, n_images: int, batch: int) -> float:
        """Weight of the old average after a step of `batch` images, in [0, 1)."""
        halflife = self.fraction * n_images
        if self.limit:
            halflife = min(halflife, self.limit)
        return float(0.5 ** (batch / halflife)) if halflife > 0 else 0.0

    @torch.no_grad()
    def update(self, generator: nn.Module, n_images: int, batch: int) -> None:
        """Move towards the network after `n_images` images in total, `batch` of them in the last step."""
        weight = 1.0 - self.decay(n_images, batch)
        averages: list[Tensor] = list(self.generator.parameters())
        torch._foreach_lerp_(averages, list(generator.parameters()), weight)
        for (name, average), buffer in zip(self.generator.named_buffers(), generator.buffers(), strict=True):
            if name.endswith(RUNNING):
                average.lerp_(buffer, weight)
            else:
                average.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """The average's weights."""
        return self.generator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.generator.load_state_dict(state)
