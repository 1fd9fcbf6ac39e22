"""Resampling, scaling and cutting of features as autograd functions of compiled kernels.

The definitions are `resample` in `nn/resample.py` and the products and `chunk`s of the plain modules. All of
this can be differentiated twice, as R1 needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from voxflate.nn.functional import from_rows, to_rows
from voxflate.nn.fused import ops
from voxflate.nn.resample import HALVE, Filter, LowPass, lowpass_matrix, multiply_axis


class Plan(NamedTuple):
    """A resampling for the compiled kernels, or its adjoint.

    Attributes:
        filters: One per axis; None leaves it as it is.
        sizes: Sizes of the axes before the filters.
        adjoint_: Apply the transposed matrices, to an input with the sizes after the filters.
    """

    filters: tuple[LowPass | None, ...]
    sizes: tuple[int, ...]
    adjoint_: bool = False

    @classmethod
    def identity(cls, sizes: Sequence[int]) -> Self:
        """No resampling."""
        return cls((None,) * len(sizes), tuple(sizes))

    def is_identity(self) -> bool:
        """Tell whether no axis changes."""
        return not any(self.filters)

    def adjoint(self) -> Plan:
        """The adjoint, for gradients."""
        return self._replace(adjoint_=not self.adjoint_)

    def tables(self) -> ops.Tables:
        """The tables for the kernels."""
        return _tables(self)


@lru_cache(maxsize=512)
def _tables(plan: Plan) -> ops.Tables:
    matrices = [f and lowpass_matrix(f, n) for f, n in zip(plan.filters, plan.sizes, strict=True)]
    if not plan.adjoint_:
        return ops.make_tables(matrices, plan.sizes)
    sizes = [n if m is None else len(m) for m, n in zip(matrices, plan.sizes, strict=True)]
    return ops.make_tables([None if m is None else m.t() for m in matrices], sizes)


def planned(parts: Sequence[Tensor], filters: Sequence[Filter]) -> tuple[tuple[Tensor, ...], Plan]:
    """Apply the filters that are a matrix per sample; return the parts, and a plan of the other filters.

    Args:
        parts: [N, C / parts, *spatial] each.
        filters: One per axis, or none at all to keep the size.
    """
    fixed: list[LowPass | None] = []
    for axis, filter_ in enumerate(filters, start=1):
        if isinstance(filter_, Tensor):
            parts = [from_rows(multiply_axis(to_rows(part), filter_, axis)) for part in parts]
            fixed.append(None)
        else:
            fixed.append(filter_)
    sizes = parts[0].shape[2:]
    return tuple(parts), Plan(tuple(fixed), tuple(sizes)) if fixed else Plan.identity(sizes)


def resample(x: Tensor, filters: Sequence[Filter]) -> Tensor:
    """As `nn.resample.resample`: [N, C, *spatial] -> [N, C, *spatial'], channels-last."""
    (part,), plan = planned((x,), filters)
    if plan.is_identity():
        return part
    out: Tensor = Linear.apply(plan, 1, part)[0]  # type: ignore[no-untyped-call]
    return out


class Linear(torch.autograd.Function):
    """Join parts by channel shuffle, resample, and split again; its adjoint has the same form."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, out_parts: int, *parts: Tensor) -> tuple[Tensor, ...]:
        """Parts [N, C / parts, *spatial] -> `out_parts` parts [N, C / out_parts, *spatial']."""
        ctx.plan, ctx.parts = plan, len(parts)
        return tuple(map(from_rows, ops.resample([to_rows(p) for p in parts], plan.tables(), out_parts)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Apply the adjoint."""
        return None, None, *Linear.apply(ctx.plan.adjoint(), ctx.parts, *grads)  # type: ignore[no-untyped-call]


def fork(x: Tensor, parts: int) -> tuple[tuple[Tensor, ...], Tensor]:
    """The start of a residual block.

    Args:
        x: [N, C, *spatial].
        parts: 1, or 2 to cut the channels.

    Returns:
        The input of the block's convolutions, [N, C / parts, *spatial] each, and that of its skip connection:
        half of every axis, low-passed, [N, C, *spatial / 2].
    """
    plan = Plan((HALVE,) * (x.ndim - 2), tuple(x.shape[2:]))
    *inputs, small = _Fork.apply(plan, parts, x)  # type: ignore[no-untyped-call]
    return tuple(inputs), small


class _Fork(torch.autograd.Function):
    """`fork`: the gradients of both outputs are summed in one sweep."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, parts: int, x: Tensor) -> tuple[Tensor, ...]:
        ctx.plan = plan
        rows = to_rows(x)
        inputs = map(from_rows, ops.modulate(rows, None, 2)) if parts == 2 else (x,)
        return *inputs, from_rows(ops.resample([rows], plan.tables())[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor]:
        return None, None, _Merge.apply(ctx.plan, *grads)  # type: ignore[no-untyped-call]


class _Merge(torch.autograd.Function):
    """The adjoint of `_Fork`; the adjoint of this is `_Fork`."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *grads: Tensor) -> Tensor:
        ctx.plan, ctx.parts = plan, len(grads) - 1
        *inputs, small = map(to_rows, grads)
        if len(inputs) == 2 and not ops.cuts(small.shape[-1]):
            inputs = [torch.cat(inputs, dim=-1)]
        return from_rows(ops.resample([small], plan.adjoint().tables(), addend=inputs)[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_Fork.apply(ctx.plan, ctx.parts, grads[0])  # type: ignore[no-untyped-call]


def modulate(x: Tensor, style: Tensor, parts: int = 1) -> tuple[Tensor, ...]:
    """Scale every channel of every sample (Eq. 1), and cut the channels into parts.

    Args:
        x: [N, I, *spatial].
        style: [N, I].
        parts: 1 or 2.

    Returns:
        [N, I / parts, *spatial] each.
    """
    # Dense before it is saved: a copy made inside would cut second derivatives off.
    return _Modulate.apply(x, style.contiguous(), parts)  # type: ignore[no-untyped-call,no-any-return]


def halves(x: Tensor) -> tuple[Tensor, ...]:
    """The first and the second half of the channels, [N, C / 2, *spatial] each."""
    return _Modulate.apply(x, None, 2)  # type: ignore[no-untyped-call,no-any-return]


class _Modulate(torch.autograd.Function):
    """Scale and split: one sweep forward, one backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, style: Tensor | None, parts: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, style)
        return tuple(map(from_rows, ops.modulate(to_rows(x), style, parts)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, style = ctx.saved_tensors
        if torch.is_grad_enabled():  # R1 differentiates again
            g = torch.cat(grads, dim=1)
            if style is None:
                return g, None, None
            axes = (1,) * (x.ndim - 2)
            return g * style.view(*style.shape, *axes), (g * x).flatten(2).sum(2), None
        gx, g_style = ops.modulate_backward([to_rows(g) for g in grads], to_rows(x), style)
        return from_rows(gx), g_style, None


class WeightedSum(torch.autograd.Function):
    """Weighted sum over the channels, [N, C, *spatial] and dense [N, C] -> [N, 1, *spatial] float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """One sweep."""
        ctx.save_for_backward(x, weight)
        return ops.to_image(to_rows(x), weight).unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of both; differentiable if R1 differentiates again."""
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            axes = (1,) * (x.ndim - 2)
            return grads[0] * weight.view(*weight.shape, *axes), (grads[0] * x).flatten(2).sum(2)
        gx, g_weight = ops.to_image_backward(grads[0].contiguous(), to_rows(x), weight)
        return from_rows(gx), g_weight
