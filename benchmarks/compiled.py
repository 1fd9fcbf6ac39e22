"""A training step as it is, with torch.compile and with CUDA graphs; `benchmarks.gpu` measures them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from voxflate._system.errors import VoxflateError
from voxflate.gans.compiled import compile_networks
from voxflate.gans.gan import Gan, Shown
from voxflate.nn.draws import Draws

Gradients = dict[str, list[torch.Tensor]]
"""By the network that they belong to."""

FLOOR = 1e-3
"""Gradients below this share of a network's largest one are compared with this share: R1 of fresh networks
leaves some that are rounding alone."""


def compiled_step(
    gan: Gan, reals: torch.Tensor, mode: str, seconds_of: Callable[[Callable[[], object]], float]
) -> tuple[dict[str, Any], Gradients]:
    """Images/s without R1, seconds that compiling took, and the gradients of G's and D's step.

    Args:
        gan: Fresh networks; every step sees the same weights.
        reals: Real images, on its device.
        mode: See `gans.compiled`.
        seconds_of: Times a call.

    Raises:
        VoxflateError: If the mode cannot be used; says why.
    """
    gan.scale_learning_rates(0.0)
    started = time.monotonic()
    line = compile_networks(gan, mode, Shown(reals, draws=Draws(len(reals), gan.device, range(len(reals)))))
    if gan.settings.compile != mode:
        raise VoxflateError(line)
    took = time.monotonic() - started
    seconds = seconds_of(lambda: gan.step(reals, None, number=1))
    found = {"images_per_s": len(reals) / seconds, "compiling_s": took}
    return found, gradients_of_a_step(gan, reals)


def gradients_of_a_step(gan: Gan, reals: torch.Tensor) -> Gradients:
    """What every optimizer is given in a step without R1, on the CPU."""
    seen: Gradients = {}

    def keep(name: str, optimizer: torch.optim.Optimizer) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        seen[name] = [p.grad.cpu() for p in parameters if p.grad is not None]

    for name, optimizer in gan.optimizers.items():
        optimizer.register_step_pre_hook(lambda one, *_, name=name: keep(name, one))
    gan.step(reals, None, number=1)
    return seen


def apart(ours: Gradients, theirs: Gradients) -> float:
    """Largest difference of two gradients, as a share of the largest number in its tensor (see `FLOOR`)."""
    shares = []
    for name, known in theirs.items():
        sizes = torch.stack([one.abs().max() for one in known])
        scales = sizes.clamp_min(max(FLOOR * float(sizes.max()), 1e-12))
        pairs = zip(ours[name], known, scales, strict=True)
        shares += [float((a - b).abs().max() / scale) for a, b, scale in pairs]
    return max(math.inf if math.isnan(share) else share for share in shares)


def angle(ours: Gradients, theirs: Gradients) -> float:
    """Cosine of the angle between two gradients, of all networks together; 1 for the same direction."""
    one, other = (
        torch.cat([tensor.flatten().double() for name in theirs for tensor in gradients[name]])
        for gradients in (ours, theirs)
    )
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))
