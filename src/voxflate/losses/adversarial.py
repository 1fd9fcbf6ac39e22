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
