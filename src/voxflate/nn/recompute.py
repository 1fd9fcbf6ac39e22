"""Activation checkpointing: keep what goes into a stage, and compute the stage again for its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_stage(stage: nn.Module, recompute: bool, *inputs: Any) -> Any:
    """Call a stage, which must draw no random numbers.

    Args:
        stage: Part of a network.
        recompute: Forget what the stage computed inside, and compute it again in the backward pass: less
            memory, a forward pass more. Values and gradients are the same.
        inputs: Of the stage.
    """
    if not (recompute and torch.is_grad_enabled()):
        return stage(*inputs)
    return checkpoint(stage, *inputs, use_reentrant=False, preserve_rng_state=False)
