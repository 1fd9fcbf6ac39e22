"""Penalties on the discriminator's gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def r1_penalty(discriminator: Callable[[Tensor], Tensor], reals: Tensor) -> Tensor:
    """Mean squared norm of the discriminator's gradient at real images, ||grad D||^2, without gamma/2.

    Args:
        discriminator: [N, C, *spatial] -> logits [N].
        reals: Real images, [N, C, *spatial].

    Returns:
        A scalar that can be differentiated again.

    Source: Mescheder et al. 2018, Eq. 9.
    """
    reals = reals.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(reals).sum(), reals, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
