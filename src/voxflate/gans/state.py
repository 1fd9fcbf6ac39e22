"""Everything that changes during training, in one object."""

from __future__ import annotations

from typing import Any

import torch

from voxflate.gans.ema import Ema
from voxflate.gans.gan import Gan

FORMAT = 4
"""Version of the snapshot's layout; `upgrade` converts earlier ones."""


class TrainingState:
    """Networks, optimizers, average, counters and random states.

    The order of the images needs no state: it follows from the seed and `n_images`.

    Args:
        gan: Networks and optimizers.
        ema: Moving average of the generator.
    """

    def __init__(self, gan: Gan, ema: Ema) -> None:
        self.gan = gan
        self.ema = ema
        self.n_images = 0
        self.steps = 0
        self.seconds = 0.0
        self.lr_scale = 1.0
        self.restores = 0

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.n_images / 1000

    def state_dict(self) -> dict[str, Any]:
        """Nested dicts of tensors, numbers and strings, so that they load without running code."""
        state: dict[str, Any] = {
            "format": FORMAT,
            "n_images": self.n_images,
            "steps": self.steps,
            "seconds": self.seconds,
            "lr_scale": self.lr_scale,
            "restores": self.restores,
            "gan": self.gan.state_dict(),
            "ema": self.ema.state_dict(),
            "rng": torch.get_rng_state(),
        }
        if self.gan.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state(self.gan.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned, and discard the remains of a failed step.

        Raises:
            RuntimeError, ValueError, KeyError, TypeError: If the state belongs to other networks.
        """
        self.gan.forget_step()
        self.gan.load_state_dict(state["gan"])
        self.ema.load_state_dict(state["ema"])
        _check_moments(self.gan)
        self.n_images, self.steps = state["n_images"], state["steps"]
        self.seconds, self.lr_scale, self.restores = state["seconds"], state["lr_scale"], state["restores"]
        torch.set_rng_state(state["rng"])
        if self.gan.device.type == "cuda" and "rng_cuda" in state:
            torch.cuda.set_rng_state(state["rng_cuda"], self.gan.device)


def upgrade(state: dict[str, Any]) -> dict[str, Any]:
    """Convert the state of an earlier format to the current one.

    Format 2 had no restores, so no learning rate was lowered by one. Format 3 differed only in its file.
    """
    return {"lr_scale": 1.0, "restores": 0} | state | {"format": FORMAT}


def _check_moments(gan: Gan) -> None:
    """Refuse moments of other shapes: optimizers load anything, and would fail only at the next step."""
    for name, optimizer in gan.optimizers.items():
        for parameter, moments in optimizer.state.items():
            for key, value in moments.items():
                if isinstance(value, torch.Tensor) and value.dim() and value.shape != parameter.shape:
                    raise ValueError(f"{name}: {key} of shape {tuple(value.shape)}")
