"""Low-pass up- and down-sampling with the [1, 3, 3, 1] filter, one axis at a time.

Along one axis every such step is a fixed banded matrix: zero insertion, padding, filter and stride combined
into one. In the channels-last layout it is a plain matrix product, the same code in 2D and 3D. On a
CPU in float32 the plain smoothing runs as a depthwise convolution along the innermost axis of a 2D view,
which is even faster (decision 0007 has the measurements).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from voxflate.nn.functional import from_rows, takes_cpu_form, to_rows

TAPS = (0.125, 0.375, 0.375, 0.125)
"""The filter [1, 3, 3, 1], normalised to sum 1."""


class LowPass(NamedTuple):
    """Insert `up` - 1 zeros behind each sample, pad, filter, keep every `down`-th, times `gain`.

    The size n becomes (n up + sum(pad) - 4) / down + 1, rounded down.
    """

    up: int = 1
    down: int = 1
    pad: tuple[int, int] = (0, 0)
    gain: float = 1.0


DOUBLE = LowPass(up=2, pad=(2, 1), gain=2.0)
"""n -> 2n: the skip images, and depth in the planar twin."""

SMOOTH_UP = LowPass(pad=(1, 1), gain=2.0)
"""2n + 1 -> 2n: after an up-convolution with 3 taps; the gain compensates for the inserted zeros."""

SMOOTH_DOWN = LowPass(pad=(2, 2))
"""n -> n + 1: before a convolution with 3 taps and stride 2, which then gives n / 2."""

HALVE = LowPass(down=2, pad=(1, 1))
"""n -> n / 2: before a convolution with one tap; `SMOOTH_DOWN` at the centres of 3-tap kernels."""


@lru_cache(maxsize=512)
def lowpass_matrix(filter_: LowPass, size: int) -> Tensor:
    """Write a low-pass step on `size` samples as a matrix, [size', size] float32."""
    return _filled(filter_, size, torch.device("cpu"))


def _matrix_on(filter_: LowPass, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The same on the data's device, so that a step on a GPU copies nothing."""
    if torch.compiler.is_dynamo_compiling():  # it cannot trace caches
        return _filled(filter_, size, device).to(dtype)
    return _kept_matrix(filter_, size, device, dtype)


@lru_cache(maxsize=512)
def _kept_matrix(filter_: LowPass, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return lowpass_matrix(filter_, size).to(device=device, dtype=dtype)


def _filled(filter_: LowPass, size: int, device: torch.device) -> Tensor:
    rows = (size * filter_.up + sum(filter_.pad) - len(TAPS)) // filter_.down + 1
    first = torch.arange(rows, device=device)[:, None] * filter_.down - filter_.pad[0]
    tap = torch.arange(size, device=device) * filter_.up - first  # that a sample meets, [size', size]
    weights = [(tap == index) * (weight * filter_.gain) for index, weight in enumerate(TAPS)]
    return torch.stack(weights).sum(0)


Filter = LowPass | Tensor
"""What happens to one axis: one step for all samples, or a matrix per sample, [N, size', size]."""


def resample(x: Tensor, filters: Sequence[Filter]) -> Tensor:
    """Apply one low-pass step to each spatial axis.

    Args:
        x: [N, C, *spatial].
        filters: One per axis.

    Returns:
        [N, C, *spatial'], channels-last.
    """
    rows = to_rows(x)
    for axis, filter_ in enumerate(filters, start=1):
        if isinstance(filter_, Tensor):
            rows = multiply_axis(rows, filter_, axis)
        elif filter_.up == filter_.down == 1 and takes_cpu_form(rows):
            rows = _Smooth.apply(rows, axis, filter_.pad[0], filter_.gain)  # type: ignore[no-untyped-call]
        else:
            rows = multiply_axis(rows, _matrix_on(filter_, rows.shape[axis], rows.device, rows.dtype), axis)
    return from_rows(rows)


def multiply_axis(rows: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply axis `axis` of [N, *spatial, C] by a matrix, or axis 1 by one matrix per sample."""
    before, after = rows.shape[:axis], rows.shape[axis + 1 :]
    flat = rows.reshape(before.numel(), rows.shape[axis], after.numel())
    product = torch.matmul(matrix.to(device=rows.device, dtype=rows.dtype), flat)
    return product.reshape(*before, matrix.shape[-2], *after)


class _Smooth(torch.autograd.Function):
    """The same for a filter that neither inserts nor drops samples, padded equally on both sides.

    The axes inside this one become the channels of a depthwise convolution. The filter is symmetric, so
    the adjoint is the same operation with the complementary padding; PyTorch's own second derivative of a
    depthwise convolution, which R1 needs, takes seconds.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, axis: int, pad: int, gain: float) -> Tensor:
        ctx.axis, ctx.pad, ctx.gain = axis, pad, gain
        before, after = rows.shape[:axis], rows.shape[axis + 1 :]
        channels = after.numel()
        # [before, channels, 1, n] in the channels-last layout, which is how the rows lie in memory.
        image = rows.reshape(before.numel(), 1, rows.shape[axis], channels).permute(0, 3, 1, 2)
        taps = torch.tensor(TAPS, dtype=rows.dtype).mul_(gain).expand(channels, 1, 1, -1)
        out = F.conv2d(image, taps, padding=(0, pad), groups=channels)
        return out.permute(0, 2, 3, 1).reshape(*before, out.shape[3], *after)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        complement = len(TAPS) - 1 - ctx.pad
        return _Smooth.apply(grads[0].contiguous(), ctx.axis, complement, ctx.gain), None, None, None  # type: ignore[no-untyped-call]
