"""Chooses the path of a network, fused or plain, for every stage and call; the only place that does.

The plain path is the modules as written. The fused path computes the same on a CPU with compiled
kernels (`nn/fused`, decision 0024), if they can be built and support everything in the stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from voxflate._system.errors import VoxflateError
from voxflate.nn.fused import build, stages

MODES = ("auto", "plain")

_mode = "auto"
_CPU = torch.device("cpu")


def use_kernels(mode: str) -> None:
    """Choose the path of networks from now on: "auto" (fused if possible) or "plain".

    Raises:
        VoxflateError: If it is neither.
    """
    if mode not in MODES:
        raise VoxflateError(f"kernels: {mode!r} is not one of {', '.join(MODES)}")
    global _mode
    _mode = mode


def kernels_in_use(device: torch.device = _CPU) -> str:
    """Tell what networks on a device use: "compiled" kernels (the fused path) or "plain" PyTorch.

    Kernels are for CPUs; for other devices none are built.
    """
    fused = device.type == "cpu" and _mode != "plain" and not build.kernels().problem
    return "compiled" if fused else "plain"


def why_plain(stage: nn.Module, *inputs: Any) -> str:
    """Why a stage runs on the plain path for these inputs, in one line; empty if it runs fused."""
    return "kernels are set to plain" if _mode == "plain" else stages.why_not(stage, *inputs)


def run_stage(stage: nn.Module, *inputs: Any, recompute: bool = False) -> Any:
    """Run a stage of a network, on the fused path if possible.

    Args:
        stage: Part of a network; must draw no random numbers.
        inputs: Inputs of its forward pass.
        recompute: Activation checkpointing: discard the stage's activations, and compute them again in
            the backward pass. Less memory for one more forward pass; values and gradients are the same.

    Returns:
        The result of the stage's forward pass.
    """
    run: Callable[..., Any] = stage
    if not why_plain(stage, *inputs):
        run = partial(stages.STAGES[type(stage)].forward, stage)
    if not (recompute and torch.is_grad_enabled()):
        return run(*inputs)
    return checkpoint(run, *inputs, use_reentrant=False, preserve_rng_state=False)


def describe_path(networks: Iterable[nn.Module], device: torch.device, *, bfloat16: bool) -> str:
    """Describe in one line how networks run: path and reason, precision, device or threads."""
    precision = "bfloat16" if bfloat16 else "float32"
    if device.type != "cpu":
        return f"plain path (kernels are for CPUs), {precision}, on {device}"
    threads = torch.get_num_threads()
    path = f"fused path (compiled kernels{'' if build.has_openmp() else ' on one thread, without OpenMP'})"
    if not any(type(module) in stages.STAGES for network in networks for module in network.modules()):
        path = "plain path (this model has no fused stages)"
    elif _mode == "plain":
        path = "plain path (kernels are set to plain)"
    elif problem := build.kernels().problem:
        path = f"plain path ({problem})"
    return f"{path}, {precision}, on {threads} thread{'s' * (threads > 1)}"
