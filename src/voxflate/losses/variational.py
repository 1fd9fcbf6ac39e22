"""Losses of models with an encoder."""

from __future__ import annotations

from torch import Tensor


def l1_reconstruction(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Mean absolute difference per voxel."""
    return (images - reconstructions).abs().mean()


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Mean over samples of KL(N(mean, variance) || N(0, 1)), summed over the code, in nats.

    Args:
        mean: Mean of every number of every code, [N, z_dim].
        log_variance: Logarithm of its variance, [N, z_dim].

    Source: Kingma and Welling 2014, Appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
