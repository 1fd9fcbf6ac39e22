"""3D-WGAN-GP: a critic with a gradient penalty, several critic steps per generator step.

Source: Gulrajani et al. 2017, Algorithm 1; the layers are those of Kwon et al. 2019 (decision 0050).
"""

from __future__ import annotations

from torch import Tensor

from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, adam_each, scalars_of
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.gans.slice_discriminator import slice_judge
from voxflate.losses import gradient_penalty, wasserstein_d, wasserstein_g
from voxflate.nn.dcgan import UpsamplingGenerator, critic, random_volumes


def networks(plan: NetworkPlan) -> Networks:
    """Generator and critic."""
    sizes = plan.shape, plan.channels, plan.z_dim
    return {
        "generator": UpsamplingGenerator(*sizes, plan.image_channels, linear=True),
        "discriminator": critic(plan.shape, plan.channels, plan.critic_norm, plan.image_channels),
    }


def steps(networks: Networks, settings: Settings) -> list[Step]:
    """A critic step in every batch, and a generator step after every `critic_steps` of them."""
    generator, judge = networks["generator"], networks["discriminator"]
    slices = slice_judge(networks, settings, lambda shown: random_volumes(generator, len(shown.reals)))

    def loss_d(shown: Shown) -> tuple[Tensor, Scalars]:
        made = random_volumes(generator, len(shown.reals))
        logits_real, logits_fake = judge(shown.reals), judge(made)
        loss = wasserstein_d(logits_real, logits_fake)
        penalty = gradient_penalty(judge, shown.reals, made)
        scalars = scalars_of(loss_d=loss, gp=penalty, logits_real=logits_real, logits_fake=logits_fake)
        return loss + settings.gp_lambda * penalty, scalars

    def loss_g(shown: Shown) -> tuple[Tensor, Scalars]:
        made = random_volumes(generator, len(shown.reals))
        loss = wasserstein_g(judge(made))
        return loss + slices.loss_g(made, shown), scalars_of(loss_g=loss)

    n = settings.critic_steps
    return [
        Step("d", "discriminator", loss_d),
        Step("g", "generator", loss_g, every=n, first=n - 1),
        *slices.steps(every=n, first=n - 1),
    ]


WGAN_GP = Model(networks, adam_each, steps)
