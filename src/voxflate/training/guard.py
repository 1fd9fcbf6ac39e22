"""NaN and infinity are caught before an optimizer uses them, and traced to where they began."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from voxflate._system.errors import VoxflateError
from voxflate.gans.state import TrainingState


class NonFiniteError(VoxflateError):
    """A weight, a gradient or a loss is NaN or infinite; the message says which."""


class Guard:
    """Checks every gradient before it becomes a step, then the losses, and the weights before a snapshot.

    Real images need no check: a prepared set stores integers.

    Args:
        state: Its optimizers are watched from now on.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state
        self._networks = state.gan.networks
        self._names = {
            parameter: f"{network}.{name}"
            for network, module in self._networks.items()
            for name, parameter in module.named_parameters()
        }
        for optimizer in state.gan.optimizers.values():
            optimizer.register_step_pre_hook(self._check_gradients)

    def check_scalars(self, scalars: dict[str, Tensor]) -> None:
        """Refuse losses and other scalars that are NaN or infinite.

        Raises:
            NonFiniteError: Names the scalar, or the weight that spoiled it.
        """
        if bad := _not_finite(scalars.items()):
            self.check_weights()
            self._refuse(bad)

    def check_weights(self) -> None:
        """Refuse weights that are NaN or infinite, those of the average included.

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

    def _check_gradients(self, optimizer: Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        # The largest value, not the sum of squares, which would overflow.
        if not gradients or bool(torch.stack(torch._foreach_norm(gradients, float("inf"))).isfinite().all()):
            return
        self.check_weights()
        # Gradients run backwards and carry NaN with them, so it began in the last layer that has it.
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
