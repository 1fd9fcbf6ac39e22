"""Penalties on the discriminator's gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Discriminator = Callable[[Tensor], Tensor]
"""[N, ...] -> logits [N]."""


def r1_penalty(discriminator: Discriminator, reals: Tensor) -> Tensor:
    """Mean squared norm of the discriminator's gradient at real images, ||grad D||^2, without gamma/2.

    Args:
        discriminator: [N, C, *spatial] -> logits [N].
        reals: Real images, [N, C, *spatial].

    Returns:
        A scalar that can be differentiated again.

    Source: Mescheder et al. 2018, Eq. 9.
    """
    return _gradient(discriminator, reals).square().sum(1).mean()


def gradient_penalty(critic: Discriminator, reals: Tensor, fakes: Tensor) -> Tensor:
    """Mean of (||grad D(x)|| - 1)^2, without lambda, at one point x between every real and its fake.

    Args:
        critic: [N, ...] -> logits [N].
        reals: Real images or codes, [N, ...].
        fakes: The same number of generated ones. Each pair's point is drawn uniformly, from the global random
            state.

    Returns:
        A scalar that can be differentiated again.

    Source: Gulrajani et al. 2017, Eq. 3 and Algorithm 1.
    """
    share = torch.rand(len(reals), *(1,) * (reals.dim() - 1), device=reals.device, dtype=reals.dtype)
    between = torch.lerp(fakes.detach(), reals.detach(), share)
    norms: Tensor = torch.linalg.vector_norm(_gradient(critic, between), dim=1)
    return (norms - 1).square().mean()


def _gradient(discriminator: Discriminator, points: Tensor) -> Tensor:
    """The gradient of every sample's logit with respect to that sample, [N, numbers in a sample]."""
    points = points.detach().requires_grad_()
    gradient: Tensor
    (gradient,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return gradient.flatten(1)
