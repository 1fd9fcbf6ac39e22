"""Everything that changes during a training, in one object."""

from __future__ import annotations

from typing import Any

import torch

from voxflate.gans.gan import Gan
from voxflate.training.ema import Ema

FORMAT = 2
"""Version of the snapshot's layout."""


class TrainingState:
    """Networks, optimizers, average, counters and random states.

    The order of the images needs no state: it follows from the seed and `n_images`.

    Args:
        gan: Networks and optimizers.
        ema: Average of the generator.
    """

    def __init__(self, gan: Gan, ema: Ema) -> None:
        self.gan = gan
        self.ema = ema
        self.n_images = 0
        self.steps = 0
        self.seconds = 0.0

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.n_images / 1000

    def is_finite(self) -> bool:
        """Say whether every weight of every network is a number."""
        networks = self.gan.networks.values()
        return all(bool(torch.isfinite(p).all()) for network in networks for p in network.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings only, so that it loads without running code."""
        state: dict[str, Any] = {
            "format": FORMAT,
            "n_images": self.n_images,
            "steps": self.steps,
            "seconds": self.seconds,
            "gan": self.gan.state_dict(),
            "ema": self.ema.state_dict(),
            "rng": torch.get_rng_state(),
        }
        if self.gan.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state(self.gan.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self.gan.load_state_dict(state["gan"])
        self.ema.load_state_dict(state["ema"])
        self.n_images, self.steps = state["n_images"], state["steps"]
        self.seconds = state["seconds"]
        torch.set_rng_state(state["rng"])
        if self.gan.device.type == "cuda" and "rng_cuda" in state:
            torch.cuda.set_rng_state(state["rng_cuda"], self.gan.device)
