"""3D-alpha-GAN: a GAN with an encoder, and a second discriminator that makes its codes look random.

Source: Rosca et al. 2017, Algorithm 1. Their loss of encoder and generator, log((1 - p) / p) for the
probability p of a logistic discriminator, is its negative logit. `alpha_wgan_gp` shares everything but the
discriminators' losses.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import softplus

from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, adam_each, scalars_of
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.gans.slice_discriminator import slice_judge
from voxflate.losses import l1_reconstruction, non_saturating_d, wasserstein_g
from voxflate.nn.dcgan import (
    UpsamplingGenerator,
    code_discriminator,
    critic,
    encoder,
    normal_codes,
    statistics_kept,
)


def networks(plan: NetworkPlan) -> Networks:
    """Generator, discriminator, encoder, and the discriminator of codes."""
    sizes = plan.shape, plan.channels, plan.z_dim
    return {
        "generator": UpsamplingGenerator(*sizes, plan.image_channels, linear=False),
        "discriminator": critic(plan.shape, plan.channels, plan.critic_norm, plan.image_channels),
        "encoder": encoder(*sizes, plan.image_channels),
        "code_discriminator": code_discriminator(plan.z_dim, plan.channels, plan.critic_norm),
    }


@dataclass(frozen=True)
class Parts:
    """The networks by short names, and the computations shared by the losses."""

    generator: nn.Module
    judge: nn.Module
    encoder: nn.Module
    judge_codes: nn.Module

    def random_codes(self, shown: Shown) -> Tensor:
        """Random codes, one per real image."""
        return normal_codes(len(shown.reals), self.generator.z_dim, shown.reals.device)  # type: ignore[arg-type]

    def fakes(self, shown: Shown) -> Tensor:
        """The generator's volumes of random codes, one per real image."""
        volumes: Tensor = self.generator(self.random_codes(shown))
        return volumes

    def reconstruct(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """The codes of the real images, and their reconstructions."""
        codes = self.encoder(shown.reals)
        with statistics_kept(self.generator):
            return codes, self.generator(codes)


def parts_of(networks: Networks) -> Parts:
    """Take the networks out of their dictionary."""
    names = "generator", "discriminator", "encoder", "code_discriminator"
    return Parts(*(networks[name] for name in names))


def makers(parts: Parts, networks: Networks, settings: Settings) -> list[Step]:
    """The steps of E, G and the slice discriminator, every `critic_steps`-th batch."""
    slices = slice_judge(networks, settings, parts.fakes)

    def loss_e(shown: Shown) -> tuple[Tensor, Scalars]:
        codes, images = parts.reconstruct(shown)
        reconstruction = l1_reconstruction(shown.reals, images)
        adversarial = wasserstein_g(parts.judge_codes(codes))
        scalars = scalars_of(loss_e=adversarial, reconstruction=reconstruction)
        return adversarial + settings.reconstruction * reconstruction, scalars

    def loss_g(shown: Shown) -> tuple[Tensor, Scalars]:
        _, images = parts.reconstruct(shown)
        fakes = parts.fakes(shown)
        adversarial = wasserstein_g(parts.judge(images)) + wasserstein_g(parts.judge(fakes))
        reconstruction = l1_reconstruction(shown.reals, images)
        loss = adversarial + settings.reconstruction * reconstruction + slices.loss_g(fakes, shown)
        return loss, scalars_of(loss_g=adversarial)

    n = settings.critic_steps
    return [
        Step("e", "encoder", loss_e, every=n, first=n - 1),
        Step("g", "generator", loss_g, every=n, first=n - 1),
        *slices.steps(every=n, first=n - 1),
    ]


def steps(networks: Networks, settings: Settings) -> list[Step]:
    """One step each of E, G, D and the discriminator of codes."""
    parts = parts_of(networks)

    def loss_d(shown: Shown) -> tuple[Tensor, Scalars]:
        _, images = parts.reconstruct(shown)
        fakes = parts.fakes(shown)
        real, fake, again = (parts.judge(x) for x in (shown.reals, fakes, images))
        loss = non_saturating_d(real, fake) + softplus(again).mean()
        return loss, scalars_of(loss_d=loss, logits_real=real, logits_fake=fake, logits_again=again)

    def loss_c(shown: Shown) -> tuple[Tensor, Scalars]:
        codes = parts.encoder(shown.reals)
        loss = non_saturating_d(parts.judge_codes(parts.random_codes(shown)), parts.judge_codes(codes))
        return loss, scalars_of(loss_c=loss)

    return [
        *makers(parts, networks, settings),
        Step("d", "discriminator", loss_d),
        Step("c", "code_discriminator", loss_c),
    ]


ALPHA_GAN = Model(networks, adam_each, steps)
