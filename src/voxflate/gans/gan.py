"""What a model declares, and the one object that trains any of them.

A model is its networks, an optimizer for each, and a list of steps. A step says which one network learns,
the loss that it lowers, and how often it is due. One call of `Gan.step` shows one batch of real images; "five
steps of the critic for one of the generator" is a generator's step that is due every fifth time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Adam

Losses = dict[str, Tensor]
Networks = dict[str, nn.Module]
"""By name: generator, discriminator, encoder, code_discriminator."""

LETTERS = {"generator": "g", "discriminator": "d", "encoder": "e", "code_discriminator": "c"}
"""How logs, settings and snapshots shorten a network's name."""


@dataclass(frozen=True)
class NetworkPlan:
    """Plain settings of the networks; `config.NetworkConfig` says what each means.

    Attributes:
        spatial_dims: 3, or 2 for a twin.
        planar: The twin is a planar one.
        mbstd_group: Samples per group of the minibatch standard deviation.
    """

    base: tuple[int, int, int]
    stages: int
    channels: int
    z_dim: int
    w_dim: int = 64
    mapping_layers: int = 8
    architecture: str = "baseline"
    symmetric_d: bool = False
    position: bool = False
    critic_norm: str = "batch"
    spatial_dims: int = 3
    planar: bool = False
    mbstd_group: int = 4

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the volume, [D, H, W]."""
        return tuple(side * 2 ** (self.stages - 1) for side in self.base)


@dataclass(frozen=True)
class Settings:
    """Plain settings of the steps; `config.TrainingConfig` and `config.ComparisonConfig` explain them."""

    lr_g: float = 0.0025
    lr_d: float = 0.0025
    r1_gamma: float = 0.0512
    r1_every: int = 16
    augmentations: Sequence[str] = ()
    augment_p: float = 1.0
    reuse_fakes: bool = False
    train_noise: bool = True
    autocast: bool = False
    betas: tuple[float, float] = (0.0, 0.9)
    critic_steps: int = 1
    gp_lambda: float = 10.0
    reconstruction: float = 10.0
    kl: float = 1.0


@dataclass(frozen=True)
class Shown:
    """One batch of real images.

    Attributes:
        reals: [N, 1, *shape].
        positions: Planar twins: the axial position of every real, [N] integers; fakes get the same.
    """

    reals: Tensor
    positions: Tensor | None = None


@dataclass(frozen=True)
class Step:
    """One kind of step.

    Attributes:
        name: For people and tests.
        updates: The one network that learns; the others stand still.
        loss: What the step lowers, and figures to log, detached.
        every: It is due at every so manyth batch.
        first: Number of the first batch at which it is due.
    """

    name: str
    updates: str
    loss: Callable[[Shown], tuple[Tensor, Losses]]
    every: int = 1
    first: int = 0

    def is_due(self, number: int) -> bool:
        """Say whether the step is taken after `number` batches."""
        return number % self.every == self.first


@dataclass(frozen=True)
class Model:
    """A line of the table of models.

    Attributes:
        networks: Fresh networks, from PyTorch's global random state.
        optimizers: One for every network.
        steps: In the order in which they are taken.
        mixed_precision: Whether the steps heed `Settings.autocast`.
    """

    networks: Callable[[NetworkPlan], Networks]
    optimizers: Callable[[Networks, Settings], dict[str, Adam]]
    steps: Callable[[Networks, Settings], list[Step]]
    mixed_precision: bool = False


def adam_each(networks: Networks, settings: Settings) -> dict[str, Adam]:
    """An Adam for every network: encoders learn at the generator's rate, every discriminator at D's."""
    return {
        name: Adam(
            network.parameters(),
            lr=settings.lr_g if name in ("generator", "encoder") else settings.lr_d,
            betas=settings.betas,
        )
        for name, network in networks.items()
    }


class Gan:
    """Networks, their optimizers, and the steps that train them.

    Args:
        model: Declares optimizers and steps.
        networks: On their device.
        settings: Of the steps.
    """

    def __init__(self, model: Model, networks: Networks, settings: Settings) -> None:
        self.networks = networks
        self.settings = settings
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

    def scale_learning_rates(self, factor: float) -> None:
        """Set all learning rates to `factor` times their initial value."""
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor

    def step(self, reals: Tensor, positions: Tensor | None, *, number: int, train_g: bool = True) -> Losses:
        """Take every step that is due, in the model's order.

        Args:
            reals: Real images, [N, 1, *shape].
            positions: See `Shown`.
            number: How many batches there were before.
            train_g: Off while the generator is frozen.

        Returns:
            Detached scalars by name.
        """
        losses: Losses = {}
        for step in self.steps:
            if step.is_due(number) and (train_g or step.updates != "generator"):
                losses |= self.take(step, Shown(reals, positions))
        return losses

    def take(self, step: Step, shown: Shown) -> Losses:
        """Take one step, due or not; only the network that it updates gets gradients."""
        # The others' weight gradients are not wanted, and are a third of a backward pass.
        others = [network for name, network in self.networks.items() if name != step.updates]
        still = [p for network in others for p in network.parameters() if p.requires_grad]
        _require_grad(still, wanted=False)
        loss, figures = step.loss(shown)
        optimizer = self.optimizers[step.updates]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        _require_grad(still, wanted=True)
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers, tensors and numbers only."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`; learning rates and betas stay those of the settings."""
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


def figures_of(**losses: Tensor) -> Losses:
    """Detached means for the log."""
    return {name: value.detach().mean() for name, value in losses.items()}
