"""StyleGAN2's training steps, for images and volumes (Sec. 3.1; Karras et al. 2020).

Non-saturating logistic loss, lazy R1 penalty, Adam. Path-length regularisation and style mixing are left
out (decision 0010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

from voxflate.losses import non_saturating_d, non_saturating_g, r1_penalty
from voxflate.nn import Discriminator, Generator
from voxflate.nn.augment import augment
from voxflate.nn.discriminator import depth_ramp
from voxflate.nn.generator import StyledConv

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class StyleGAN2Settings:
    """Plain settings of the steps; `config.TrainingConfig` says what each means."""

    lr_g: float = 0.0025
    lr_d: float = 0.0025
    betas: tuple[float, float] = (0.0, 0.99)
    r1_gamma: float = 0.0512
    r1_every: int = 16
    augmentations: Sequence[str] = ()
    augment_p: float = 1.0
    reuse_fakes: bool = False
    train_noise: bool = True
    autocast: bool = False


def lazy_adam(parameters: Any, lr: float, betas: tuple[float, float], every: int) -> Adam:
    """Adam for a network that is regularised only every `every` steps.

    Running the regulariser as a step of its own makes every + 1 steps of every; learning rate and betas are
    corrected by c = every / (every + 1): lr c, beta^c. Source: Karras et al. 2020, Appendix B.
    """
    correction = every / (every + 1) if every else 1.0
    return Adam(
        parameters,
        lr=lr * correction,
        betas=(betas[0] ** correction, betas[1] ** correction),
        eps=1e-8,
    )


class StyleGAN2:
    """Two networks, their optimizers, and the steps that train them.

    Args:
        generator: G.
        discriminator: D.
        settings: Of the steps.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, settings: StyleGAN2Settings
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.settings = settings
        self.device = generator.synthesis.const.device
        self.depth = generator.synthesis.shape[0] if generator.synthesis.planar else 0
        s = settings
        for module in generator.modules():
            if isinstance(module, StyledConv):
                module.noise_strength.requires_grad_(s.train_noise)
        self.optimizer_g = lazy_adam(generator.parameters(), s.lr_g, s.betas, 0)
        self.optimizer_d = lazy_adam(
            discriminator.parameters(), s.lr_d, s.betas, s.r1_every if s.r1_gamma else 0
        )
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def scale_learning_rates(self, factor: float) -> None:
        """Set both learning rates to `factor` times their initial value."""
        for optimizer in (self.optimizer_g, self.optimizer_d):
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def step(self, reals: Tensor, positions: Tensor | None, *, number: int, train_g: bool = True) -> Losses:
        """One step of G, one of D, and every `r1_every`-th time one of R1.

        Args:
            reals: Real images, [N, 1, *shape].
            positions: Planar twins: the axial position of every real, [N] integers; fakes get the same.
            number: How many steps there were before.
            train_g: Off while the generator is frozen.

        Returns:
            Detached scalars by name.
        """
        losses: Losses = {}
        if train_g:
            fakes = self._step_g(len(reals), positions, losses)
        if not (train_g and self.settings.reuse_fakes):
            with torch.no_grad():
                fakes = self._fakes(len(reals), positions)
        self._step_d(fakes.detach(), reals, positions, losses)
        if self.settings.r1_gamma and number % self.settings.r1_every == 0:
            self._step_r1(reals, positions, losses)
        return losses

    def _fakes(self, count: int, positions: Tensor | None) -> Tensor:
        z = torch.randn(count, self.generator.z_dim, device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.autocast):
            fakes: Tensor = self.generator(z, positions=positions)
        return fakes

    def _judge(self, images: Tensor, positions: Tensor | None, *, autocast: bool) -> Tensor:
        """Augment, then let D answer; slices are told their position in [-1, 1]."""
        if self.settings.augmentations:
            images = augment(images, self.settings.augmentations, self.settings.augment_p)
        where = None if positions is None else depth_ramp(self.depth, images.device)[positions]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            logits: Tensor = self.discriminator(images, where)
        return logits.float()

    def _step_g(self, count: int, positions: Tensor | None, losses: Losses) -> Tensor:
        # D's weight gradients are not wanted here, and are a third of its backward pass.
        self.discriminator.requires_grad_(False)
        fakes = self._fakes(count, positions)
        loss = non_saturating_g(self._judge(fakes, positions, autocast=self.settings.autocast))
        self.optimizer_g.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer_g.step()
        self.discriminator.requires_grad_(True)
        losses["loss_g"] = loss.detach()
        return fakes

    def _step_d(self, fakes: Tensor, reals: Tensor, positions: Tensor | None, losses: Losses) -> None:
        both = torch.cat([fakes, reals])
        where = None if positions is None else torch.cat([positions, positions])
        logits = self._judge(both, where, autocast=self.settings.autocast)
        fake_logits, real_logits = logits.split(len(reals))
        loss = non_saturating_d(real_logits, fake_logits)
        self.optimizer_d.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer_d.step()
        losses["loss_d"] = loss.detach()
        losses["logits_real"] = real_logits.detach().mean()
        losses["logits_fake"] = fake_logits.detach().mean()

    def _step_r1(self, reals: Tensor, positions: Tensor | None, losses: Losses) -> None:
        # In float32: the penalty needs a second derivative, and is run too seldom to cost anything.
        penalty = r1_penalty(lambda x: self._judge(x, positions, autocast=False), reals)
        self.optimizer_d.zero_grad(set_to_none=True)
        (penalty * (self.settings.r1_gamma / 2 * self.settings.r1_every)).backward()
        self.optimizer_d.step()
        losses["r1"] = penalty.detach()

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers, tensors and numbers only."""
        return {name: getattr(self, name).state_dict() for name in _STATEFUL}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`; learning rates and betas stay those of the settings."""
        optimizers = (self.optimizer_g, self.optimizer_d)
        options = [[_without(group, "params") for group in o.param_groups] for o in optimizers]
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        for optimizer, own in zip(optimizers, options, strict=True):
            for group, values in zip(optimizer.param_groups, own, strict=True):
                group.update(values)


def _without(group: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != key}


_STATEFUL = ("generator", "discriminator", "optimizer_g", "optimizer_d")
