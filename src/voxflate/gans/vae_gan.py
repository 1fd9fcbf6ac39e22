"""3D-VAE-GAN: a GAN whose generator is also the decoder of a variational autoencoder.

Source: Wu et al. 2016, Sec. 3.2: the steps of D, E and G and the terms of each. They use a Euclidean
distance for voxel shapes; here it is the mean absolute difference, and the weights are those of a
lower bound of the evidence (decision 0051).
"""

from __future__ import annotations

import torch
from torch import Tensor

from voxflate.gans.gan import Model, Networks, Scalars, Shown, Step, adam_each, scalars_of
from voxflate.gans.settings import NetworkPlan, Settings
from voxflate.gans.slice_discriminator import slice_judge
from voxflate.losses import kl_to_normal, l1_reconstruction, non_saturating_d, non_saturating_g
from voxflate.nn.dcgan import UpsamplingGenerator, VariationalEncoder, critic, random_volumes, statistics_kept


def networks(plan: NetworkPlan) -> Networks:
    """Generator (the decoder), discriminator and encoder."""
    sizes = plan.shape, plan.channels, plan.z_dim
    return {
        "generator": UpsamplingGenerator(*sizes, plan.image_channels, linear=True),
        "discriminator": critic(plan.shape, plan.channels, plan.critic_norm, plan.image_channels),
        "encoder": VariationalEncoder(*sizes, plan.image_channels),
    }


def steps(networks: Networks, settings: Settings) -> list[Step]:
    """One step of D in every batch, and of E and G in every `critic_steps`-th."""
    generator, judge, encoder = (networks[name] for name in ("generator", "discriminator", "encoder"))
    slices = slice_judge(networks, settings, lambda shown: random_volumes(generator, len(shown.reals)))

    def autoencode(reals: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruction error and KL of the codes."""
        mean, log_variance = encoder(reals)
        codes = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        with statistics_kept(generator):
            reconstruction = l1_reconstruction(reals, generator(codes))
        return reconstruction, kl_to_normal(mean, log_variance)

    def loss_d(shown: Shown) -> tuple[Tensor, Scalars]:
        logits_real, logits_fake = judge(shown.reals), judge(random_volumes(generator, len(shown.reals)))
        loss = non_saturating_d(logits_real, logits_fake)
        return loss, scalars_of(loss_d=loss, logits_real=logits_real, logits_fake=logits_fake)

    def loss_e(shown: Shown) -> tuple[Tensor, Scalars]:
        reconstruction, kl = autoencode(shown.reals)
        # The KL per voxel, so that the weights mean the same at every size.
        share = kl / shown.reals[0].numel()
        loss = settings.reconstruction * (reconstruction + settings.kl * share)
        return loss, scalars_of(loss_e=loss, kl=kl, reconstruction=reconstruction)

    def loss_g(shown: Shown) -> tuple[Tensor, Scalars]:
        made = random_volumes(generator, len(shown.reals))
        adversarial = non_saturating_g(judge(made))
        reconstruction, _ = autoencode(shown.reals)
        loss = adversarial + settings.reconstruction * reconstruction + slices.loss_g(made, shown)
        return loss, scalars_of(loss_g=adversarial)

    n = settings.critic_steps
    return [
        Step("d", "discriminator", loss_d),
        Step("e", "encoder", loss_e, every=n, first=n - 1),
        Step("g", "generator", loss_g, every=n, first=n - 1),
        *slices.steps(every=n, first=n - 1),
    ]


VAE_GAN = Model(networks, adam_each, steps)
