"""Numbers that are none are caught before an optimizer uses them, and traced to where they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from voxflate._system.errors import VoxflateError
from voxflate.gans.state import TrainingState


class NonFiniteError(VoxflateError):
    """An image, a weight, a gradient or a loss is NaN or infinite; the message says which."""


class Guard:
    """Looks at the images, at every gradient before it becomes a step, at the losses and at the weights.

    Args:
        state: Its model's optimizers are watched from now on.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self._networks = state.gan.networks
        self._names = {
            parameter: f"{network}.{name}"
            for network, module in self._networks.items()
            for name, parameter in module.named_parameters()
        }
        self._trained = {parameter: parameter.requires_grad for parameter in self._names}
        for optimizer in state.gan.optimizers.values():
            optimizer.register_step_pre_hook(self._check_gradients)

    def check_images(self, images: Tensor) -> None:
        """Refuse real images [N, ...] that hold NaN or infinity.

        Raises:
            NonFiniteError: Names the first such image by its number in the run's stream.
        """
        world = self.state.gan.world
        if world.any(not bool(torch.isfinite(images).all()), images.device):
            first = self.state.n_images + world.share(len(images) * world.size).start
            named = ((f"training image {first + i} of the run", image) for i, image in enumerate(images))
            self._refuse(_not_finite(named) or ["a training image of another process"])

    def check_losses(self, losses: dict[str, Tensor]) -> None:
        """Refuse losses that are no numbers.

        Raises:
            NonFiniteError: Names the loss, or the weight that spoils it.
        """
        if bad := _not_finite(losses.items()):
            self.check_weights()
            self._refuse(bad)

    def check_weights(self) -> None:
        """Refuse networks with weights that are no numbers, the average's included.

        Raises:
            NonFiniteError: Names the first such weight.
        """
        networks = self._networks | {"average": self.state.ema.generator}
        named = (
            (f"weight of {network}.{name}", tensor)
            for network, module in networks.items()
            for name, tensor in module.state_dict().items()
        )
        self._refuse(_not_finite(named))

    def reset(self) -> None:
        """After an error in the middle of a step: what was switched off for a part of it is on again."""
        for parameter, trained in self._trained.items():
            parameter.requires_grad_(trained)
            parameter.grad = None

    def _check_gradients(self, optimizer: Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        # The largest, not the sum of squares, which large numbers would overflow.
        if not gradients or bool(torch.stack(torch._foreach_norm(gradients, float("inf"))).isfinite().all()):
            return
        self.check_weights()
        # Gradients run backwards, and NaN with them: the last layer that has it is where it began.
        ordered = zip(reversed(parameters), reversed(gradients), strict=True)
        self._refuse(_not_finite((f"gradient of {self._names[p]}", gradient) for p, gradient in ordered))

    def _refuse(self, names: list[str]) -> None:
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise NonFiniteError(
                f"{names[0]}{more} is not finite in the step after {self.state.n_images} images"
            )


def _not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    return [name for name, tensor in named if not bool(torch.isfinite(tensor).all())]
