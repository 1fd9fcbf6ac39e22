"""Adversarial losses on raw logits (positive means real)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def non_saturating_g(fake_logits: Tensor) -> Tensor:
    """Generator's loss, mean of -log sigmoid(D(fake)).

    Source: Goodfellow et al. 2014, Sec. 3; the choice of StyleGAN2.
    """
    return softplus(-fake_logits).mean()


def non_saturating_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Discriminator's loss, mean of -log sigmoid(D(real)) - log(1 - sigmoid(D(fake)))."""
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def wasserstein_g(fake_logits: Tensor) -> Tensor:
    """Generator's loss, mean of -D(fake).

    With a logistic discriminator, -D(fake) = log((1 - sigmoid) / sigmoid) is also the density-ratio loss of
    Rosca et al. 2017, so alpha-GAN also uses it.

    Source: Arjovsky et al. 2017, Algorithm 1.
    """
    return -fake_logits.mean()


def wasserstein_d(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Critic's loss, mean of D(fake) - D(real); it additionally needs a bound on D's slope."""
    return fake_logits.mean() - real_logits.mean()
