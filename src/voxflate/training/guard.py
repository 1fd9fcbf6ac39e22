"""Catches NaN and infinity before an optimizer uses them, and traces them to their origin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from voxflate._system.errors import VoxflateError
from voxflate.gans.state import TrainingState


class NonFiniteError(VoxflateError):
    """A weight, gradient or loss is NaN or infinite; the message names it."""


GPU_EVERY = 16
"""Steps between two checks on a GPU; each check waits until the GPU has caught up."""


class Guard:
    """Checks every gradient before it becomes a step, then the losses, and the weights before a snapshot.

    On a GPU the step itself keeps the weights unchanged if a gradient is NaN or infinite, and the run
    ends at the next check. Real images need no check: a prepared set stores integers.

    Args:
        state: The state whose optimizers are watched from now on.
        every: Steps between two checks; None decides by the device: every step on the CPU.
    """

    def __init__(self, state: TrainingState, every: int | None = None) -> None:
        self.state = state
        self.every = every or (1 if state.gan.device.type == "cpu" else GPU_EVERY)
        self._networks = state.gan.networks
        self._names = {
            parameter: f"{network}.{name}"
            for network, module in self._networks.items()
            for name, parameter in module.named_parameters()
        }
        self._bad: dict[str, Tensor] = {}
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._looked_at = state.n_images
        for name, optimizer in state.gan.optimizers.items():
            watch = self._check_gradients if self.every == 1 else partial(self._skip_bad_step, name)
            optimizer.register_step_pre_hook(watch)

    def after_step(self, scalars: dict[str, Tensor], *, look: bool = False) -> dict[str, float] | None:
        """Refuse losses and other scalars that are NaN or infinite.

        Args:
            scalars: Those of the step.
            look: Check this step in any case.

        Returns:
            The scalars, copied in one transfer; on a GPU their means since the last check, or None if this
            step is not checked.

        Raises:
            NonFiniteError: Names the scalar, or the weight that caused it.
        """
        if self.every > 1:
            for name, value in scalars.items():
                self._note(f"scalar {name}", value.isfinite().logical_not())
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = value + total, count + 1
            # From the first step on, so that a bad start ends soon.
            if not look and self.state.steps % self.every != 1:
                return None
            sums, self._sums = self._sums, {}
            self._look()
            scalars = {name: total / count for name, (total, count) in sums.items()}
        values = torch.stack([value.double() for value in scalars.values()]).tolist() if scalars else []
        found = dict(zip(scalars, values, strict=True))
        if bad := [name for name, value in found.items() if not math.isfinite(value)]:
            self.check_weights()
            self._refuse(bad)
        return found

    def check_weights(self) -> None:
        """Refuse weights that are NaN or infinite, including those of the average.

        Raises:
            NonFiniteError: Names the first such weight.
        """
        self._look()
        networks = self._networks | {"average": self.state.ema.generator}
        named = (
            (f"weight of {network}.{name}", tensor)
            for network, module in networks.items()
            for name, tensor in module.state_dict().items()
        )
        self._refuse(_not_finite(named))

    def _check_gradients(self, optimizer: Optimizer, *_: Any) -> None:
        gradients = _gradients(optimizer)
        if not gradients or bool(_all_finite(gradients)):
            return
        self.check_weights()
        # Gradients run backwards and carry NaN with them, so it began in the last layer that has it.
        named = ((f"gradient of {self._names[p]}", gradients[p]) for p in reversed(gradients))
        self._refuse(_not_finite(named))

    def _skip_bad_step(self, name: str, optimizer: Optimizer, *_: Any) -> None:
        """Make a fused optimizer skip its step if a gradient is NaN or infinite."""
        if gradients := _gradients(optimizer):
            bad = _all_finite(gradients).logical_not()
            optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            self._note(f"gradient of the {name}", bad)

    def _note(self, name: str, bad: Tensor) -> None:
        """Record on the device that something was not finite."""
        self._bad[name] = self._bad[name] | bad if name in self._bad else bad

    def _look(self) -> None:
        """Fetch the findings since the last check, in one transfer."""
        # The run may have gone back to a snapshot since the last look.
        since, self._looked_at = min(self._looked_at, self.state.n_images), self.state.n_images
        if not self._bad:
            return
        flags = torch.stack(list(self._bad.values())).tolist()
        names = [name for name, bad in zip(self._bad, flags, strict=True) if bad]
        self._bad.clear()
        if names:
            self._sums.clear()  # the run goes back, or ends
            raise NonFiniteError(f"{names[0]} is not finite in a step after {since} images")

    def _refuse(self, names: list[str]) -> None:
        if names:
            self._sums.clear()
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise NonFiniteError(
                f"{names[0]}{more} is not finite in the step after {self.state.n_images} images"
            )


def _gradients(optimizer: Optimizer) -> dict[nn.Parameter, Tensor]:
    """The gradients of an optimizer's parameters that have one."""
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    return {p: p.grad for p in parameters if p.grad is not None}


def _all_finite(gradients: Mapping[nn.Parameter, Tensor]) -> Tensor:
    """Whether all gradients are finite, on their device."""
    # By the largest values: a sum of squares would overflow.
    largest = torch._foreach_norm(list(gradients.values()), float("inf"))
    return torch.stack(largest).isfinite().all()


def _not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    return [name for name, tensor in named if not bool(torch.isfinite(tensor).all())]
