"""A training step as it is, with torch.compile and with CUDA graphs; `benchmarks.gpu` measures them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.step import Case, gan_of, images

from voxflate._system.errors import VoxflateError
from voxflate.gans.compiled import compile_networks
from voxflate.gans.gan import Gan, Shown
from voxflate.nn.draws import Draws

Gradients = dict[str, list[torch.Tensor]]
"""By the network that they belong to."""


def compiled_step(
    case: Case, mode: str, device: torch.device, seconds_of: Callable[[Callable[[], object]], float]
) -> tuple[dict[str, Any], Gradients]:
    """Images/s without R1, seconds that compiling took, and the gradients of G's and D's step.

    Args:
        case: Networks and batch.
        mode: See `gans.compiled`.
        device: Where it runs.
        seconds_of: Times a call.

    Raises:
        VoxflateError: If the mode cannot be used; says why.
    """
    gan = gan_of(case, "plain", {"training.device": str(device)})
    gan.scale_learning_rates(0.0)  # every step sees the same weights
    reals = images(case).reals.to(device)
    started = time.monotonic()
    line = compile_networks(gan, mode, Shown(reals, draws=Draws(len(reals), device, range(len(reals)))))
    if gan.settings.compile != mode:
        raise VoxflateError(line)
    took = time.monotonic() - started
    seconds = seconds_of(lambda: gan.step(reals, None, number=1))
    found = {"images_per_s": case.batch / seconds, "compiling_s": round(took, 1)}
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
    """Largest difference of two gradients, as a share of the largest number in its tensor."""
    pairs = [pair for name in ours for pair in zip(ours[name], theirs[name], strict=True)]
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
