"""StyleGAN2, for images and volumes (Sec. 3.1; Karras et al. 2020).

Non-saturating logistic loss, lazy R1 penalty, Adam. Path-length regularisation and style mixing are left
out (decision 0010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam

from voxflate.gans.compiled import compiled
from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, scalars_of
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.gans.slice_discriminator import slice_judge
from voxflate.losses import non_saturating_d, non_saturating_g, r1_penalty
from voxflate.nn import Discriminator, Generator, counted
from voxflate.nn.augment import augment
from voxflate.nn.conv_modules import ARCHITECTURES
from voxflate.nn.discriminator_blocks import depth_ramp
from voxflate.nn.draws import Draws
from voxflate.nn.generator_blocks import StyledConv
from voxflate.nn.planar import SliceWindow

BETAS = (0.0, 0.99)


def networks(plan: NetworkPlan) -> Networks:
    """Generator and discriminator; twins lack the first axis."""
    architecture = ARCHITECTURES[plan.architecture]
    base = plan.base if plan.spatial_dims == 3 else plan.base[1:]
    generator = Generator(
        plan.base if plan.planar else base,
        plan.stages,
        plan.channels,
        plan.z_dim,
        plan.w_dim,
        plan.mapping_layers,
        architecture.generator,
        plan.image_channels,
        plan.label_width,
        finest_channels=plan.finest_channels,
        planar=plan.planar,
    )
    discriminator = Discriminator(
        base,
        plan.stages,
        plan.channels,
        architecture.discriminator + ("-symmetric" if plan.symmetric_d else ""),
        plan.image_channels,
        plan.label_width,
        finest_channels=plan.finest_channels,
        mbstd_group=plan.mbstd_group,
        position=plan.position,
        low_pass=plan.low_pass_d,
    )
    return {"generator": generator, "discriminator": discriminator}


def lazy_adam(parameters: Any, lr: float, betas: tuple[float, float], every: int) -> Adam:
    """Adam for a network that is regularised only once in `every` steps.

    Running the regulariser as a separate step gives every + 1 steps instead of every; learning rate and betas
    are corrected by c = every / (every + 1): lr c, beta^c. Source: Karras et al. 2020, Appendix B.
    """
    correction = every / (every + 1) if every else 1.0
    return Adam(
        parameters,
        lr=lr * correction,
        betas=(betas[0] ** correction, betas[1] ** correction),
        eps=1e-8,
        fused=True,
    )


def optimizers(networks: Networks, settings: Settings) -> dict[str, Adam]:
    """Adam for both; the discriminator's is corrected for the lazy penalty."""
    s = settings
    for module in networks["generator"].modules():
        if isinstance(module, StyledConv):
            module.noise_strength.requires_grad_(s.train_noise)
    lazy = s.r1_every if s.r1_gamma else 0
    return {
        "generator": lazy_adam(networks["generator"].parameters(), s.lr_g, BETAS, 0),
        "discriminator": lazy_adam(networks["discriminator"].parameters(), s.lr_d, BETAS, lazy),
    }


def steps(networks: Networks, settings: Settings) -> list[Step]:
    """A step each of G, D and the slice discriminator, if there is one; R1 every `r1_every`-th time."""
    losses = StyleGAN2Losses(networks, settings)
    taken = [Step("g", "generator", losses.loss_g), Step("d", "discriminator", losses.loss_d)]
    taken += losses.slices.steps()
    if settings.r1_gamma:
        taken.append(Step("r1", "discriminator", losses.loss_r1, every=settings.r1_every))
    return taken


class StyleGAN2Losses:
    """The losses of the three steps.

    Args:
        networks: G and D.
        settings: Settings of the steps.
    """

    def __init__(self, networks: Networks, settings: Settings) -> None:
        self.generator: Generator = networks["generator"]  # type: ignore[assignment]
        self.discriminator = networks["discriminator"]
        self.settings = settings
        synthesis = self.generator.synthesis
        self.device = synthesis.const.device
        self.depth = synthesis.shape[0] if synthesis.planar else 0
        self._reusable: dict[int, Tensor] = {}
        self._paint = compiled(paint, settings.compile)
        self._answer = compiled(answer, settings.compile)
        self._draw_normals = compiled(counted.normals, settings.compile)
        augmented = self._augmented if settings.augmentations else None
        self.slices = slice_judge(networks, settings, self.fakes, augmented)

    def loss_g(self, shown: Shown) -> tuple[Tensor, Scalars]:
        """G's loss: D's logits of fakes."""
        fakes = self.fakes(shown)
        logits = self.judge(self._augmented(fakes, shown), shown.positions, shown.labels)
        loss = non_saturating_g(logits)
        if self.settings.reuse_fakes:
            # A copy: a CUDA graph's own images are overwritten when it runs again.
            self._reusable[shown.first] = fakes.detach().clone()
        return loss + self.slices.loss_g(fakes, shown), scalars_of(loss_g=loss)

    def loss_d(self, shown: Shown) -> tuple[Tensor, Scalars]:
        """D's loss on fakes and reals; the fakes are those of the generator's step if they are reused."""
        fakes = self._reusable.pop(shown.first, None)
        if fakes is None:
            with torch.no_grad():
                fakes = self.fakes(shown)
        both = torch.cat([self._augmented(fakes, shown), self._augmented(shown.reals, shown)])
        logits = self.judge(both, _twice(shown.positions), _twice(shown.labels))
        fake_logits, real_logits = logits.split(len(shown.reals))
        loss = non_saturating_d(real_logits, fake_logits)
        return loss, scalars_of(loss_d=loss, logits_real=real_logits, logits_fake=fake_logits)

    def loss_r1(self, shown: Shown) -> tuple[Tensor, Scalars]:
        """R1, multiplied by `r1_every` because it is computed only that rarely.

        Never compiled: torch.compile's backward pass cannot be differentiated.
        """

        def judged(reals: Tensor) -> Tensor:
            return self.judge(self._augmented(reals, shown), shown.positions, shown.labels, run=answer)

        penalty = r1_penalty(judged, shown.reals)
        return penalty * (self.settings.r1_gamma / 2 * self.settings.r1_every), scalars_of(r1=penalty)

    def fakes(self, shown: Shown) -> Tensor:
        """New images from random codes, one per real image, at its position and with its labels."""
        draws = shown.draws or Draws(len(shown.reals), self.device)
        window = self.generator.synthesis.window(shown.positions)
        sizes = self.generator.synthesis.noise_shapes(window)
        z, *noise = draws.normals([(self.generator.z_dim,), *sizes], self._draw_normals)
        return self._paint(self.generator, z, noise, window, shown.labels, self.settings.autocast)

    def _augmented(self, images: Tensor, shown: Shown) -> Tensor:
        if not self.settings.augmentations:
            return images
        return augment(images, self.settings.augmentations, self.settings.augment_p, shown.draws)

    def judge(
        self,
        images: Tensor,
        positions: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        run: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """D's logits, by `answer` or its compiled form; it gets labels and the positions of slices."""
        where = None if positions is None else depth_ramp(self.depth, images.device)[positions]
        return (run or self._answer)(self.discriminator, images, where, labels, self.settings.autocast)


def paint(
    generator: nn.Module,
    z: Tensor,
    noise: Sequence[Tensor],
    window: SliceWindow | None,
    labels: Tensor | None,
    autocast: bool,
) -> Tensor:
    """The generator's images, as a function of all its inputs, so that it can be compiled.

    Autocast is inside, not around it: otherwise a compiled backward pass would also run under it.
    """
    with torch.autocast(z.device.type, torch.bfloat16, enabled=autocast):
        images: Tensor = generator(z, positions=window, noise=noise, labels=labels)
    return images


def answer(
    discriminator: nn.Module,
    images: Tensor,
    positions: Tensor | None,
    labels: Tensor | None,
    autocast: bool,
) -> Tensor:
    """The discriminator's logits, as a function of all its inputs, like `paint`; positions are in [-1, 1]."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
        logits: Tensor = discriminator(images, positions, labels)
    return logits.float()


def _twice(told: Tensor | None) -> Tensor | None:
    """Conditions for fakes followed by reals; the same for both (decision 0126)."""
    return None if told is None else torch.cat([told, told])


STYLEGAN2 = Model(networks, optimizers, steps, mixed_precision=True, divisible=True, compilable=True)
