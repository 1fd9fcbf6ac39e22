"""Asynchronous transfers to a device, and its memory."""

from __future__ import annotations

import torch
from torch import Tensor

from voxflate._system.memory import available_bytes, peak_bytes

_GIB = 2**30


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; a GPU copies asynchronously from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def peak_gib(device: torch.device) -> float:
    """The most memory used so far, GiB: of the process's tensors on a GPU, else of the process."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    return peak / _GIB


def available_gib(device: torch.device) -> float:
    """Memory that is left on a device, GiB."""
    left = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    return left / _GIB
