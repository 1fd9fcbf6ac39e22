"""The declaration of a model, and the class that trains any model.

A model is its networks, one optimizer per network, and a list of steps. A step names the network to update,
the loss, and how often it is due. One call of `Gan.step` shows one batch of real images; "five critic steps
per generator step" means a generator step that is due every fifth batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from voxflate._system.distributed import ALONE, World
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.nn.draws import Draws

Scalars = dict[str, Tensor]
"""The scalars that a step logs, by name."""

Networks = dict[str, nn.Module]
"""By name: generator, discriminator, encoder, code_discriminator, slice_discriminator."""

LETTERS = {
    "generator": "g",
    "discriminator": "d",
    "encoder": "e",
    "code_discriminator": "c",
    "slice_discriminator": "s",
}
"""Short names of the networks in logs, settings and snapshots."""


@dataclass(frozen=True)
class Shown:
    """One batch of real images, or a part of one.

    Attributes:
        reals: [N, C, *shape].
        positions: Planar twins only: axial position of every real image, [N] integers; fakes get the same.
        draws: Random numbers for the fakes; None takes them from the global random state.
        first: Index of the first image in its batch.
        seen: Images that the run showed before the batch.
        labels: Label vectors of the real images, [N, label_width]; fakes get the same ones.
    """

    reals: Tensor
    positions: Tensor | None = None
    draws: Draws | None = None
    first: int = 0
    seen: int = 0
    labels: Tensor | None = None

    def parts(self, size: int) -> Iterator[Shown]:
        """Split the batch into parts of at most `size` images; 0 leaves it whole."""
        size = size or len(self.reals)
        for first in range(0, len(self.reals), size):
            last = min(first + size, len(self.reals))
            yield Shown(
                self.reals[first:last],
                None if self.positions is None else self.positions[first:last],
                None if self.draws is None else self.draws.part(first, last),
                self.first + first,
                self.seen,
                None if self.labels is None else self.labels[first:last],
            )


@dataclass(frozen=True)
class Step:
    """One kind of step.

    Attributes:
        name: Name for people and tests.
        updates: The network to update; the others are fixed.
        loss: Returns the loss, a mean over the images shown, and scalars to log, detached means.
        every: The step is due once in this many batches.
        first: Index of the first batch at which it is due.
    """

    name: str
    updates: str
    loss: Callable[[Shown], tuple[Tensor, Scalars]]
    every: int = 1
    first: int = 0

    def is_due(self, number: int) -> bool:
        """Whether the step is due after `number` batches."""
        return number % self.every == self.first


@dataclass(frozen=True)
class Model:
    """An entry in the table of models.

    Attributes:
        networks: Fresh networks, from PyTorch's global random state.
        optimizers: One per network.
        steps: The steps in order. They are made anew after a failed step, which discards everything that its
            losses kept.
        mixed_precision: Whether the steps use `Settings.autocast`.
        divisible: Whether a batch may be shown in parts. That is impossible with batch normalisation, or with
            random numbers from the global state.
        compilable: Whether the steps use `Settings.compile`.
    """

    networks: Callable[[NetworkPlan], Networks]
    optimizers: Callable[[Networks, Settings], dict[str, Adam]]
    steps: Callable[[Networks, Settings], list[Step]]
    mixed_precision: bool = False
    divisible: bool = False
    compilable: bool = False


@runtime_checkable
class AfterStep(Protocol):
    """A module that collects a statistic of a step's activations."""

    def after_step(self, sum_: Callable[[Sequence[Tensor]], None]) -> None:
        """Add the step's samples to the statistic; `sum_` sums in place over all processes."""

    def forget_step(self) -> None:
        """Discard everything since the last `after_step`, because its step failed."""


def sample_seeds(seed: int, number: int, step: int, images: range) -> list[int]:
    """One 32-bit seed per image of a batch, independent of the process that shows the image.

    Args:
        seed: Seed of the run.
        number: Index of the batch.
        step: Index of the step in the model's list.
        images: Indices of the images in the batch.
    """
    return [int(np.random.SeedSequence((seed, number, step, image)).generate_state(1)[0]) for image in images]


def adam_each(networks: Networks, settings: Settings) -> dict[str, Adam]:
    """One Adam per network: encoders use the generator's learning rate, discriminators D's."""
    return {
        name: Adam(
            network.parameters(),
            lr=settings.lr_g if name in ("generator", "encoder") else settings.lr_d,
            betas=settings.betas,
            fused=True,  # one sweep over all parameters: a third of the time
        )
        for name, network in networks.items()
    }


class Gan:
    """Networks, their optimizers, and their training steps.

    Args:
        model: Declares optimizers and steps.
        networks: The networks, on their device.
        settings: Settings of the steps.
        world: The processes that share each batch.

    Raises:
        ValueError: If batches must be shown in parts and the model does not allow it.
    """

    def __init__(self, model: Model, networks: Networks, settings: Settings, world: World = ALONE) -> None:
        if not model.divisible and (settings.micro_batch or world.size > 1):
            raise ValueError("this model needs whole batches: set training.micro_batch=0 and use one process")
        self.networks = networks
        self.settings = settings
        self.world = world
        self._model = model
        self._after_step = [
            module
            for network in networks.values()
            for module in network.modules()
            if isinstance(module, AfterStep)
        ]
        self.device = next(networks["generator"].parameters()).device
        self.optimizers = model.optimizers(networks, settings)
        self.steps = model.steps(networks, settings)
        for group in self._groups():
            group["initial_lr"] = group["lr"]

    @property
    def generator(self) -> nn.Module:
        """The network that samples come from."""
        return self.networks["generator"]

    @property
    def discriminator(self) -> nn.Module:
        """The network that judges images."""
        return self.networks["discriminator"]

    @property
    def compilable(self) -> bool:
        """Whether the model's steps can go through torch.compile."""
        return self._model.compilable

    def use_compiled(self, mode: str) -> None:
        """Run the networks of the steps by torch.compile from now on, see `gans.compiled`; "off" ends it."""
        self.settings = replace(self.settings, compile=mode)
        self.forget_step()

    def scale_learning_rates(self, factor: float) -> None:
        """Set all learning rates to `factor` times their initial value."""
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor

    def step(
        self,
        reals: Tensor,
        positions: Tensor | None,
        labels: Tensor | None = None,
        *,
        number: int,
        train_g: bool = True,
    ) -> Scalars:
        """Run every step that is due, in the model's order.

        Args:
            reals: Real images, [N, C, *shape]: this process's share of the batch.
            positions: See `Shown`.
            labels: See `Shown`.
            number: Number of batches shown before.
            train_g: False while the generator is frozen.

        Returns:
            Detached scalars by name.
        """
        scalars: Scalars = {}
        count = len(reals)
        images = self.world.share(count * self.world.size)
        for index, step in enumerate(self.steps):
            if step.is_due(number) and (train_g or step.updates != "generator"):
                draws = None
                if self._model.divisible:
                    seeds = sample_seeds(self.settings.seed, number, index, images)
                    draws = Draws(count, self.device, seeds)
                seen = number * count * self.world.size
                shown = Shown(reals, positions, draws, images.start, seen, labels)
                scalars |= self.take(step, shown)
        return scalars

    def take(self, step: Step, shown: Shown) -> Scalars:
        """Run one step, due or not; only the network that it updates gets gradients.

        A step that raises changes no weights and leaves nothing behind but the global random state and, in
        comparison models, the running statistics of batch normalisation. Loading a snapshot resets both.
        """
        with self._others_frozen(step.updates):
            try:
                return self._update(step, shown)
            except BaseException:
                self.forget_step()
                raise

    def rehearse(self, shown: Shown) -> None:
        """Compute the gradients of every kind of step once, and forget all that they leave behind."""
        for index in reversed(range(len(self.steps))):
            try:
                step = self.steps[index]
                with self._others_frozen(step.updates):
                    self._compute_gradients(step, shown)
            finally:
                self.forget_step()

    @contextmanager
    def _others_frozen(self, updates: str) -> Iterator[None]:
        """Give gradients to one network's weights only; the others' would take a third of a backward pass."""
        others = [network for name, network in self.networks.items() if name != updates]
        frozen = [p for network in others for p in network.parameters() if p.requires_grad]
        _require_grad(frozen, wanted=False)
        try:
            yield
        finally:
            _require_grad(frozen, wanted=True)

    def _update(self, step: Step, shown: Shown) -> Scalars:
        """Update one network by the gradient of its loss."""
        scalars = self._compute_gradients(step, shown)
        gradients = [p.grad for p in self.networks[step.updates].parameters() if p.grad is not None]
        self.world.sum_([*gradients, *scalars.values()])
        self.optimizers[step.updates].step()
        for module in self._after_step:
            module.after_step(self.world.sum_)
        if self.settings.compile == "graphs":  # the next graph overwrites these gradients
            self.optimizers[step.updates].zero_grad(set_to_none=True)
        return scalars

    def _compute_gradients(self, step: Step, shown: Shown) -> Scalars:
        """Compute one network's gradients on this process's images.

        The loss is a mean over images, so the gradients of the parts, each weighted by its share of the
        batch, add up to the gradient of the whole.
        """
        self.optimizers[step.updates].zero_grad(set_to_none=True)
        if self.settings.compile == "graphs":
            torch.compiler.cudagraph_mark_step_begin()  # what graphs gave before may be overwritten
        scalars: Scalars = {}
        for part in shown.parts(self.settings.micro_batch):
            share = len(part.reals) / (len(shown.reals) * self.world.size)
            loss, seen = step.loss(part)
            (loss * share).backward()
            scalars = {name: value * share + scalars.get(name, 0.0) for name, value in seen.items()}
        return scalars

    def forget_step(self) -> None:
        """Discard gradients, statistics and everything that the losses kept of an unfinished step."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        for module in self._after_step:
            module.forget_step()
        self.steps = self._model.steps(self.networks, self.settings)

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers; tensors and numbers only."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; learning rates and betas remain those of the settings."""
        options = [
            {key: value for key, value in group.items() if key != "params"} for group in self._groups()
        ]
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for group, own in zip(self._groups(), options, strict=True):
            group.update(own)

    def _parts(self) -> dict[str, nn.Module | Adam]:
        optimizers = {f"optimizer_{LETTERS[name]}": adam for name, adam in self.optimizers.items()}
        return {**self.networks, **optimizers}

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]


def _require_grad(parameters: Sequence[Tensor], *, wanted: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(wanted)


def scalars_of(**losses: Tensor) -> Scalars:
    """Detached means for the log."""
    return {name: value.detach().mean() for name, value in losses.items()}
