"""The operations after a convolution as autograd functions of compiled kernels, twice differentiable for R1.

`sweeps` calls them. The second derivatives of a discriminator also use the kernels; those of a generator,
which training does not need, are PyTorch operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from voxflate.nn.functional import LEAKY_SLOPE, from_rows, to_rows
from voxflate.nn.fused import ops
from voxflate.nn.fused.resampling import Linear, Plan, WeightedSum


class How(NamedTuple):
    """Options of `Finish`: the resampling, the parts of its features or 0, whether gradients are needed."""

    plan: Plan
    parts: int
    learns: bool


class Finish(torch.autograd.Function):
    """x = leaky_relu(scale * resample(join(inputs)) + gain * noise + shift), and what begins with it.

    Returns x [N, C, *spatial'], or its halves, times the style if there is one; then, with `mix` [N, C], the
    image [N, 1, *spatial'], the sum of x's channels with these weights; then x itself if the backward pass
    needs it and it is not returned otherwise: only second derivatives use it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        how: How,
        scale: Tensor,
        shift: Tensor,
        noise: Tensor | None,
        noise_gain: Tensor | None,
        style: Tensor | None,
        mix: Tensor | None,
        *inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        """From scale [N, C], shift [C], noise [N, 1, *spatial'], a scalar, style and mix [N, C], branches."""
        gain = 0.0 if noise_gain is None else float(noise_gain)
        done = ops.finish(
            [to_rows(part) for part in inputs],
            how.plan.tables(),
            ops.Epilogue(scale, shift, noise, gain),
            out_parts=how.parts,
            style=style,
            mix=mix,
            keep=how.learns and (style is not None or not how.parts),
        )
        features = [from_rows(part) for part in done.features]
        ctx.how, ctx.inputs = how, len(inputs)
        ctx.set_materialize_grads(False)
        x = [from_rows(done.kept)] if done.kept is not None else features if how.learns else []
        ctx.save_for_backward(scale, shift, noise, noise_gain, style, mix, *x)
        kept = [] if done.kept is None else x
        return *features, *([] if done.image is None else [done.image[:, None]]), *kept

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """Gradients of everything but the noise."""
        saved = ctx.saved_tensors
        scale, shift, noise, noise_gain, style, mix, *x = saved
        if all(grad is None for grad in grads):
            return tuple(None for _ in ctx.needs_input_grad)
        given, others = grads[: ctx.how.parts], list(grads[ctx.how.parts :])
        image_grad = None if mix is None else others.pop(0)
        kept_grad = others.pop() if others else None
        if torch.is_grad_enabled():  # R1 differentiates again
            return _differentiable_backward(ctx, saved, given, image_grad, kept_grad)
        plan: Plan = ctx.how.plan
        unchanged = plan.is_identity()
        branches = ctx.inputs if unchanged else 1
        parts, sums = ops.finish_backward(
            _rows(given),
            _rows(x),
            scale,
            noise=noise,
            style=style,
            mix=None if image_grad is None else mix,
            image_grad=None if image_grad is None else image_grad.contiguous(),
            branches=branches,
        )
        if kept_grad is not None:
            more, more_sums = ops.finish_backward(
                _rows([kept_grad]), _rows(x), scale, noise=noise, branches=branches
            )
            parts, sums = [a + b for a, b in zip(parts, more, strict=True)], sums + more_sums
        if not unchanged:
            parts = ops.resample(parts, plan.adjoint().tables(), ctx.inputs)
        g, g_before, g_noise, g_style, g_mix = sums.unbind(1)  # [N, C] each
        extra = 0.0 if noise_gain is None else noise_gain * g_noise
        return (
            None,
            (g_before - extra - shift * g) / scale,
            g.sum(0),
            None,
            None if noise_gain is None else g_noise.sum(),
            None if style is None else g_style,
            None if mix is None else g_mix,
            *map(from_rows, parts),
        )


def _rows(parts: Sequence[Tensor | None]) -> list[Tensor]:
    """Parts as rows; nothing if all are missing, zeros for a single one that is."""
    there = [part for part in parts if part is not None]
    return [to_rows(torch.zeros_like(there[0]) if part is None else part) for part in parts if there]


def _differentiable_backward(
    ctx: Any,
    saved: Sequence[Any],
    given: Sequence[Tensor | None],
    image_grad: Tensor | None,
    kept_grad: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The same with operations that can be differentiated again, for R1."""
    scale, shift, noise, noise_gain, style, mix, *x = saved
    plan: Plan = ctx.how.plan
    if noise is None and style is None and mix is None and not ctx.needs_input_grad[1]:  # a discriminator's
        g_shift, *parts = _Sloped.apply(scale, ctx.inputs, len(x), *map(from_rows, _rows(given)), *x)  # type: ignore[no-untyped-call]
        return None, None, g_shift, None, None, None, None, *parts
    out = torch.cat(x, dim=1)
    axes = (1,) * (out.ndim - 2)
    space = tuple(range(2, out.ndim))
    dx, g_style, g_mix = torch.zeros_like(out), None, None
    if any(grad is not None for grad in given):
        dx = torch.cat([from_rows(part) for part in _rows(given)], dim=1)
        if style is not None:
            g_style = (dx * out).sum(space)
            dx = dx * style.view(*style.shape, *axes)
    if kept_grad is not None:
        dx = dx + kept_grad
    if image_grad is not None:
        g_mix = (image_grad * out).sum(space)
        dx = dx + image_grad * mix.view(*mix.shape, *axes)
    g = dx * torch.where(out > 0, 1.0, LEAKY_SLOPE)
    before = torch.where(out > 0, out, out / LEAKY_SLOPE) - shift.view(1, -1, *axes)
    if noise is not None and noise_gain is not None:
        before = before - noise_gain * noise
    g_gain = None if noise is None else (g * noise).sum()
    parts = Linear.apply(plan.adjoint(), ctx.inputs, g * scale.view(*scale.shape, *axes))  # type: ignore[no-untyped-call]
    g_scale = (g * before).sum(space) / scale
    return (None, g_scale, g.sum((0, *space)), None, g_gain, g_style, g_mix, *parts)


class _Sloped(torch.autograd.Function):
    """scale * slope(x) * g, distributed to branches: linear in g, so that its gradient has the same form."""

    @staticmethod
    def forward(ctx: Any, scale: Tensor, branches: int, halves: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From g and x, both whole or in halves, to the sum of slope(x) * g, [C], and to the branches."""
        g, x = tensors[:halves], tensors[halves:]
        ctx.branches = branches
        ctx.save_for_backward(scale, *x)
        ctx.set_materialize_grads(False)
        parts, sums = ops.finish_backward(_rows(g), _rows(x), scale, branches=branches)
        return sums[:, 0].sum(0), *map(from_rows, parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_sum: Tensor | None, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        scale, *x = ctx.saved_tensors
        parts = [torch.zeros_like(part) for part in x]
        if any(grad is not None for grad in grads):
            rows = _rows(grads)
            if ctx.branches == 2:
                rows = ops.resample(rows, Plan.identity(x[0].shape[2:]).tables())
            dealt, _ = ops.finish_backward(rows, _rows(x), scale, halves=len(x))
            parts = [from_rows(part) for part in dealt]
        if g_sum is not None:  # the bias's gradient is differentiated
            per_channel = g_sum.view(1, -1, *(1,) * (x[0].ndim - 2)).chunk(len(x), dim=1)
            for part, value, g in zip(parts, x, per_channel, strict=True):
                part += g * torch.where(value > 0, 1.0, LEAKY_SLOPE)
        return None, None, None, *parts, *(None,) * len(x)


class FinishImage(torch.autograd.Function):
    """leaky_relu(weight * image + bias) for one image channel; weight and bias [C]."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, 1, *spatial] float32 -> [N, C, *spatial] of this type."""
        out = from_rows(ops.from_image(image[:, 0], weight, bias, dtype))
        ctx.save_for_backward(image, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of image, weight and bias."""
        image, weight, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # R1 differentiates again
            per_sample = weight.repeat(len(image), 1)
            g_bias, g = _Sloped.apply(torch.ones_like(per_sample), 1, 1, grads[0], out)  # type: ignore[no-untyped-call]
            g_weight = to_rows(g).flatten(0, -2).to(image.dtype).t() @ image.flatten()
            return WeightedSum.apply(g, per_sample), g_weight, g_bias, None  # type: ignore[no-untyped-call]
        g_image, sums = ops.from_image_backward(
            to_rows(grads[0]), to_rows(out), image[:, 0], weight, to_image=ctx.needs_input_grad[0]
        )
        g_weight, g_bias = sums.sum(0)
        return None if g_image is None else g_image[:, None], g_weight, g_bias, None
