"""Convolutions of volumes with half of the multiplications, where that is faster (decision 0178).

Four neighbouring outputs take six products instead of twelve, along the innermost axis. Values differ from
PyTorch's by rounding, about twice as much as PyTorch's from exact ones.

Source: Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", F(4, 3).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from voxflate.nn.functional import from_rows, to_rows
from voxflate.nn.fused import build, ops

_KERNEL = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
"""From the three taps along the innermost axis to six points."""
SHORTEST = 16
"""Shorter rows take longer than with PyTorch."""


def pays(x: Tensor, kernel: Tensor) -> bool:
    """Say whether `convolve` can be used, and is faster than PyTorch.

    Args:
        x: [N, I, *spatial].
        kernel: [O, I / groups, *k]; any number of axes.
    """
    return (
        x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and kernel.shape[1] == x.shape[1]
        and x.shape[1] % 8 == kernel.shape[0] % 8 == 0
        and kernel.shape[2:] == (3, 3, 3)
        and x.shape[-1] >= SHORTEST
        and len(x) > 0
        and _processor_is_slow()
    )


def _processor_is_slow() -> bool:
    """Say whether PyTorch's convolutions are slower on this processor."""
    library = build.kernels().library
    return library is not None and bool(library.voxflate_winograd_pays())


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve with zero padding that keeps the size: [N, I, D, H, W] and [O, I, 3, 3, 3] -> [N, O, D, H, W].

    `pays` says for which tensors.
    """
    y: Tensor = _Convolve.apply(x, kernel)  # type: ignore[no-untyped-call]
    return y


class _Convolve(torch.autograd.Function):
    """`convolve`; its backward pass can be differentiated again, for R1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        rows = to_rows(x)
        out = rows.new_empty(*rows.shape[:-1], kernel.shape[0])
        ops.call("voxflate_winograd", rows, rows, _to_points(kernel), out, _sizes(x, len(kernel)))
        return from_rows(out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, kernel = ctx.saved_tensors
        for_x, for_kernel = ctx.needs_input_grad
        return (
            _Convolve.apply(grads[0], _turned(kernel)) if for_x else None,  # type: ignore[no-untyped-call]
            _KernelGradient.apply(x, grads[0]) if for_kernel else None,  # type: ignore[no-untyped-call]
        )


class _KernelGradient(torch.autograd.Function):
    """Gradient of `convolve` for its kernel, from x [N, I, D, H, W] and the output's, [N, O, D, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(x, grad)
        points = x.new_empty(len(_KERNEL), 3, 3, x.shape[1], grad.shape[1])
        rows = to_rows(x)
        ops.call("voxflate_winograd_kernel", rows, rows, to_rows(grad), points, _sizes(x, grad.shape[1]))
        return _from_points(points)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, grad = ctx.saved_tensors
        for_x, for_grad = ctx.needs_input_grad
        return (
            _Convolve.apply(grad, _turned(grads[0])) if for_x else None,  # type: ignore[no-untyped-call]
            _Convolve.apply(x, grads[0]) if for_grad else None,  # type: ignore[no-untyped-call]
        )


def _turned(kernel: Tensor) -> Tensor:
    """The kernel that sends gradients back: [O, I, 3, 3, 3] -> [I, O, 3, 3, 3], mirrored."""
    return kernel.flip(2, 3, 4).transpose(0, 1)


def _to_points(kernel: Tensor) -> Tensor:
    """[O, I, 3, 3, 3] -> [6, 3, 3, I, O]."""
    points = kernel @ kernel.new_tensor(_KERNEL).t()
    return points.movedim((-1, 1, 0), (0, -2, -1)).contiguous()


def _from_points(points: Tensor) -> Tensor:
    """Gradient of `_to_points`: [6, 3, 3, I, O] -> [O, I, 3, 3, 3]."""
    return points.movedim((0, -2, -1), (-1, 1, 0)) @ points.new_tensor(_KERNEL)


def _sizes(x: Tensor, outputs: int) -> Tensor:
    """What `Sizes` in winograd.cpp holds."""
    n, inputs, *spatial = x.shape
    return torch.tensor([n, *spatial, inputs, outputs])
