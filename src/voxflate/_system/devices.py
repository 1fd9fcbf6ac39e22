"""A GPU's settings, asynchronous transfers to a device, and its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from voxflate._system.memory import available_bytes, peak_bytes

_GIB = 2**30


def use_gpu(device: torch.device, *, tf32: bool, autotune: bool) -> None:
    """Select a GPU and set its arithmetic for all that this process computes; does nothing on the CPU.

    Args:
        device: "cuda" without a number stays the current GPU.
        tf32: Whether float32 is multiplied with TF32, see `training.tf32`.
        autotune: Whether cuDNN times its algorithms and takes the fastest, see `training.autotune`.
    """
    if device.type != "cuda":
        return
    if device.index is not None:
        torch.cuda.set_device(device)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = autotune


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """On a GPU, compute float32 without TF32 in the block, so that results equal a CPU's up to rounding."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def described(device: torch.device) -> str:
    """A GPU's name and the versions that its results and its speed depend on."""
    versions = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{torch.cuda.get_device_name(device)}, {versions}"


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; a GPU copies asynchronously from pinned memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def wait_for(device: torch.device) -> None:
    """Wait until a GPU has done all that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gib(device: torch.device) -> float:
    """The most memory used so far, GiB: of the process's tensors on a GPU, else of the process."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()
    return peak / _GIB


def available_gib(device: torch.device) -> float:
    """Memory that is left on a device, GiB."""
    left = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    return left / _GIB
