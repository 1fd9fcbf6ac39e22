"""3D-alpha-WGAN-GP: alpha-GAN's networks with critics and gradient penalties for images and codes.

Source: Kwon et al. 2019, the losses of generator and encoder, of the critic and of the critic of codes.
"""

from __future__ import annotations

from torch import Tensor

from voxflate.gans.alpha_gan import makers, networks, parts_of
from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, adam_each, scalars_of
from voxflate.gans.settings import Settings
from voxflate.losses import gradient_penalty, wasserstein_d


def steps(networks: Networks, settings: Settings) -> list[Step]:
    """One step each of E, G, the critic and the critic of codes."""
    parts = parts_of(networks)

    def loss_d(shown: Shown) -> tuple[Tensor, Scalars]:
        _, images = parts.reconstruct(shown)
        fakes = parts.fakes(shown)
        real, fake, again = (parts.judge(x) for x in (shown.reals, fakes, images))
        loss = wasserstein_d(real, fake) + wasserstein_d(real, again)
        penalty = gradient_penalty(parts.judge, shown.reals, fakes)
        penalty = penalty + gradient_penalty(parts.judge, shown.reals, images)
        scalars = scalars_of(loss_d=loss, gp=penalty, logits_real=real, logits_fake=fake, logits_again=again)
        return loss + settings.gp_lambda * penalty, scalars

    def loss_c(shown: Shown) -> tuple[Tensor, Scalars]:
        random, codes = parts.random_codes(shown), parts.encoder(shown.reals)
        loss = wasserstein_d(parts.judge_codes(random), parts.judge_codes(codes))
        penalty = gradient_penalty(parts.judge_codes, random, codes)
        return loss + settings.gp_lambda * penalty, scalars_of(loss_c=loss, gp_c=penalty)

    return [
        *makers(parts, networks, settings),
        Step("d", "discriminator", loss_d),
        Step("c", "code_discriminator", loss_c),
    ]


ALPHA_WGAN_GP = Model(networks, adam_each, steps)
