"""Low-pass up- and down-sampling with the [1, 3, 3, 1] filter, one axis at a time.

Along one axis every such step is a fixed banded matrix: zero insertion, padding, filter and stride folded
into one. Applied to the channels-last layout it is a plain matrix product, the same code in 2D and 3D. On a
CPU in float32 the plain smoothing runs as a depthwise convolution along the innermost axis of a 2D view,
which is quicker still (decision 0007 has the measurements); with compiled kernels all axes are one sweep
(decision 0024).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from voxflate.nn import compiled
from voxflate.nn.functional import from_rows, halves, to_rows

TAPS = (0.125, 0.375, 0.375, 0.125)
"""The filter [1, 3, 3, 1], normalised to sum 1."""


class LowPass(NamedTuple):
    """Insert `up` - 1 zeros behind each sample, pad, filter, keep every `down`-th, times `gain`.

    The size n becomes (n up + 2 or 3 numbers of padding - 4) / down + 1, rounded down.
    """

    up: int = 1
    down: int = 1
    pad: tuple[int, int] = (0, 0)
    gain: float = 1.0


DOUBLE = LowPass(up=2, pad=(2, 1), gain=2.0)
"""n -> 2n: the skip images, and depth in the planar twin."""

SMOOTH_UP = LowPass(pad=(1, 1), gain=2.0)
"""2n + 1 -> 2n: behind an up-convolution with 3 taps; the gain makes up for the inserted zeros."""

SMOOTH_DOWN = LowPass(pad=(2, 2))
"""n -> n + 1: before a convolution with 3 taps and stride 2, which then gives n / 2."""

HALVE = LowPass(down=2, pad=(1, 1))
"""n -> n / 2: before a convolution with one tap; `SMOOTH_DOWN` under the centres of 3-tap kernels."""


@lru_cache(maxsize=512)
def lowpass_matrix(filter_: LowPass, size: int) -> Tensor:
    """Write a low-pass step on `size` samples as a matrix, [size', size] float32."""
    inserted = size * filter_.up
    rows = (inserted + sum(filter_.pad) - len(TAPS)) // filter_.down + 1
    matrix = torch.zeros(rows, size)
    for row in range(rows):
        for tap, weight in enumerate(TAPS):
            position = row * filter_.down + tap - filter_.pad[0]
            if 0 <= position < inserted and position % filter_.up == 0:
                matrix[row, position // filter_.up] += weight * filter_.gain
    return matrix


@lru_cache(maxsize=512)
def _matrix_on(filter_: LowPass, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The same where the data is, so that a step on a GPU copies nothing."""
    return lowpass_matrix(filter_, size).to(device=device, dtype=dtype)


Filter = LowPass | Tensor
"""What happens to one axis: one step for all samples, or matrices [N, size', size], one a sample."""


def resample(x: Tensor, filters: Sequence[Filter]) -> Tensor:
    """Apply one low-pass step to each spatial axis.

    Args:
        x: [N, C, *spatial].
        filters: One an axis.

    Returns:
        [N, C, *spatial'], channels-last.
    """
    if compiled.usable(x):
        parts, fixed = split_filters((x,), filters)
        plan = Plan(fixed, tuple(parts[0].shape[2:]))
        return parts[0] if plan.is_still() else Linear.apply(plan, 1, *parts)[0]  # type: ignore[no-untyped-call]
    rows = to_rows(x)
    for axis, filter_ in enumerate(filters, start=1):
        if isinstance(filter_, Tensor):
            rows = _multiply(rows, filter_, axis)
        elif filter_.up == filter_.down == 1 and rows.device.type == "cpu" and rows.dtype == torch.float32:
            rows = _Smooth.apply(rows, axis, filter_.pad[0], filter_.gain)  # type: ignore[no-untyped-call]
        else:
            rows = _multiply(rows, _matrix_on(filter_, rows.shape[axis], rows.device, rows.dtype), axis)
    return from_rows(rows)


def _multiply(rows: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply axis `axis` of [N, *spatial, C] by a matrix, or axis 1 by one matrix a sample."""
    before, after = rows.shape[:axis], rows.shape[axis + 1 :]
    flat = rows.reshape(before.numel(), rows.shape[axis], after.numel())
    product = torch.matmul(matrix.to(device=rows.device, dtype=rows.dtype), flat)
    return product.reshape(*before, matrix.shape[-2], *after)


class _Smooth(torch.autograd.Function):
    """The same for a filter that neither inserts nor drops samples, padded equally on both sides.

    What lies inside the axis becomes the channels of a depthwise convolution. The filter is symmetric, so
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


def split_filters(
    parts: Sequence[Tensor], filters: Sequence[Filter]
) -> tuple[tuple[Tensor, ...], tuple[LowPass | None, ...]]:
    """Apply the axes that have a matrix for each sample; return the parts and what is left for a `Plan`."""
    fixed: list[LowPass | None] = []
    for axis, filter_ in enumerate(filters, start=1):
        if isinstance(filter_, Tensor):
            parts = [from_rows(_multiply(to_rows(part), filter_, axis)) for part in parts]
            fixed.append(None)
        else:
            fixed.append(filter_)
    return tuple(parts), tuple(fixed)


class Plan(NamedTuple):
    """A resampling for the compiled kernels, or its adjoint.

    Attributes:
        filters: One an axis; None leaves it as it is.
        sizes: Of the axes before the filters.
        adjoint_: Apply the transposed matrices, to what has the sizes behind the filters.
    """

    filters: tuple[LowPass | None, ...]
    sizes: tuple[int, ...]
    adjoint_: bool = False

    @classmethod
    def still(cls, sizes: Sequence[int]) -> Self:
        """No resampling."""
        return cls((None,) * len(sizes), tuple(sizes))

    def is_still(self) -> bool:
        """Say whether every axis stays."""
        return not any(self.filters)

    def adjoint(self) -> Plan:
        """The way back for gradients."""
        return self._replace(adjoint_=not self.adjoint_)

    def tables(self) -> compiled.Tables:
        """What the kernels read."""
        return _tables(self)


@lru_cache(maxsize=512)
def _tables(plan: Plan) -> compiled.Tables:
    matrices = [f and lowpass_matrix(f, n) for f, n in zip(plan.filters, plan.sizes, strict=True)]
    if not plan.adjoint_:
        return compiled.make_tables(matrices, plan.sizes)
    sizes = [n if m is None else len(m) for m, n in zip(matrices, plan.sizes, strict=True)]
    return compiled.make_tables([None if m is None else m.t() for m in matrices], sizes)


class Linear(torch.autograd.Function):
    """Join parts by channel shuffle, resample, deal the channels out again; its adjoint is of its kind."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, out_parts: int, *parts: Tensor) -> tuple[Tensor, ...]:
        """Parts [N, C / parts, *spatial] -> `out_parts` parts [N, C / out_parts, *spatial']."""
        ctx.plan, ctx.parts = plan, len(parts)
        return tuple(map(from_rows, compiled.resample([to_rows(p) for p in parts], plan.tables(), out_parts)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Apply the adjoint."""
        return None, None, *Linear.apply(ctx.plan.adjoint(), ctx.parts, *grads)  # type: ignore[no-untyped-call]


def fork(x: Tensor, parts: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """What a residual block begins with.

    Args:
        x: [N, C, *spatial].
        parts: 1, or 2 to cut the channels.

    Returns:
        The input of the block's convolutions, [N, C / parts, *spatial] each, and that of its skip connection:
        half of every axis, low-passed, [N, C, *spatial / 2].
    """
    filters = (HALVE,) * (x.ndim - 2)
    if compiled.usable(x):
        plan = Plan(filters, tuple(x.shape[2:]))
        *inputs, small = _Fork.apply(plan, parts, x)  # type: ignore[no-untyped-call]
        return tuple(inputs), small
    return halves(x) if parts == 2 else (x,), resample(x, filters)


class _Fork(torch.autograd.Function):
    """`fork` with the compiled kernels: the gradients of both ways are added up in one sweep."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, parts: int, x: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        rows = to_rows(x)
        inputs = map(from_rows, compiled.modulate(rows, None, 2)) if parts == 2 else (x,)
        return *inputs, from_rows(compiled.resample([rows], plan.tables())[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Merge.apply(ctx.plan, *grads)  # type: ignore[no-untyped-call]


class _Merge(torch.autograd.Function):
    """The adjoint of `_Fork`, and the other way round."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *grads: Tensor) -> Tensor:
        ctx.plan, ctx.parts = plan, len(grads) - 1
        *inputs, small = map(to_rows, grads)
        if len(inputs) == 2 and not compiled.cuts(small.shape[-1]):
            inputs = [torch.cat(inputs, dim=-1)]
        return from_rows(compiled.resample([small], plan.adjoint().tables(), addend=inputs)[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Fork.apply(ctx.plan, ctx.parts, grads[0])  # type: ignore[no-untyped-call]
