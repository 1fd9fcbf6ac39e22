"""What follows a convolution: join the branches, resample, scale, add noise and bias, leaky ReLU.

The convolutions of `conv_modules` give `Branches`; `finish` and `finish_styled` make one tensor of them. With
compiled kernels that is one sweep over memory, else the operations of `functional` and `resample` one after
the other, which define the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from voxflate.nn import compiled
from voxflate.nn.functional import (
    LEAKY_GAIN,
    LEAKY_SLOPE,
    activate,
    channel_shuffle,
    channels_last,
    from_rows,
    mix_channels,
    styled_epilogue,
    to_rows,
)
from voxflate.nn.resample import Filter, Linear, Plan, resample, split_filters


class Branches(NamedTuple):
    """What one or two convolutions gave side by side.

    Attributes:
        parts: [N, C / parts, *spatial] each.
        shuffle: Two parts are joined with alternating channels (Split&Shuffle), else one after the other.
    """

    parts: tuple[Tensor, ...]
    shuffle: bool = False

    def join(self) -> Tensor:
        """One tensor, [N, C, *spatial], channels-last."""
        if len(self.parts) == 1:
            return self.parts[0]
        if self.shuffle:
            return channel_shuffle(self.parts)
        return channels_last(torch.cat(self.parts, dim=1))


def finish(branches: Branches | Tensor, bias: Tensor, gain: float = 1.0) -> Tensor:
    """Join, add a bias per channel, leaky ReLU, scale by sqrt(2) * gain: [N, C, *spatial]."""
    if isinstance(branches, Tensor):
        branches = Branches((branches,))
    if not compiled.usable(*branches.parts, small=(bias,)):
        return activate(branches.join(), bias, gain)
    gain *= LEAKY_GAIN
    parts = _shuffled(branches)
    scale = bias.new_full((len(parts[0]), bias.shape[0]), gain)
    return _finish(Plan.still(parts[0].shape[2:]), scale, bias * gain, None, None, *parts)


def finish_image(image: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Mix an image's channels, add a bias, leaky ReLU scaled by sqrt(2): what a discriminator begins with.

    Args:
        image: [N, I, *spatial].
        kernel: [C, I].
        bias: [C].

    Returns:
        [N, C, *spatial].
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else image.dtype
    known = image.shape[1] == 1 and image.dtype == torch.float32 and dtype in compiled.FEATURE_TYPES
    if not (known and compiled.usable(image, small=(kernel, bias))):
        return finish(mix_channels(image, kernel), bias)
    out: Tensor = _FinishImage.apply(image, kernel[:, 0] * LEAKY_GAIN, bias * LEAKY_GAIN, dtype)  # type: ignore[no-untyped-call]
    return out


def finish_styled(
    branches: Branches,
    filters: Sequence[Filter],
    demodulation: Tensor,
    noise: Tensor,
    noise_strength: Tensor,
    bias: Tensor,
) -> Tensor:
    """Join, resample, demodulate, add noise and bias, leaky ReLU scaled by sqrt(2).

    Args:
        branches: Outputs of modulated convolutions.
        filters: As for `resample`; empty to keep the size.
        demodulation: [N, C].
        noise: [N, 1, *spatial'], standard normal.
        noise_strength: Scalar B of Fig. 2.
        bias: [C].

    Returns:
        [N, C, *spatial'].
    """
    if not compiled.usable(*branches.parts, small=(noise, demodulation, bias)):
        x = branches.join()
        return styled_epilogue(
            resample(x, filters) if filters else x, demodulation, noise, noise_strength, bias
        )
    parts, fixed = split_filters(_shuffled(branches), filters)
    plan = Plan(fixed, tuple(parts[0].shape[2:])) if fixed else Plan.still(parts[0].shape[2:])
    scale, shift = demodulation * LEAKY_GAIN, bias * LEAKY_GAIN
    return _finish(plan, scale, shift, noise, noise_strength * LEAKY_GAIN, *parts)


def _shuffled(branches: Branches) -> tuple[Tensor, ...]:
    """Parts that the kernels can join."""
    return branches.parts if branches.shuffle or len(branches.parts) == 1 else (branches.join(),)


def _finish(*arguments: Any) -> Tensor:
    out: Tensor = _Finish.apply(*arguments)  # type: ignore[no-untyped-call]
    return out


class _Finish(torch.autograd.Function):
    """leaky_relu(scale * resample(join(parts)) + gain * noise + shift), [N, C, *spatial']."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        scale: Tensor,
        shift: Tensor,
        noise: Tensor | None,
        noise_gain: Tensor | None,
        *parts: Tensor,
    ) -> Tensor:
        scale, shift = scale.contiguous(), shift.contiguous()
        noise = None if noise is None else noise.contiguous()
        gain = 0.0 if noise_gain is None else float(noise_gain)
        rows = [to_rows(part) for part in parts]
        out = from_rows(compiled.resample(rows, plan.tables(), 1, (scale, shift, noise, gain))[0])
        ctx.plan, ctx.parts = plan, len(parts)
        ctx.save_for_backward(out, scale, shift, noise, noise_gain)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        out, scale, shift, noise, noise_gain = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable_backward(ctx, grads[0], out, scale, shift, noise, noise_gain)
        still = ctx.plan.is_still()
        parts, sums = compiled.epilogue_backward(
            to_rows(grads[0]), to_rows(out), scale, noise, ctx.parts if still else 1
        )
        if not still:
            parts = compiled.resample(parts, ctx.plan.adjoint().tables(), ctx.parts)
        g, g_before, g_noise = sums.unbind(1)  # [N, C] each
        extra = 0.0 if noise_gain is None else noise_gain * g_noise
        g_scale = (g_before - extra - shift * g) / scale
        g_gain = None if noise_gain is None else g_noise.sum()
        return (None, g_scale, g.sum(0), None, g_gain, *map(from_rows, parts))


def _differentiable_backward(
    ctx: Any,
    grad: Tensor,
    out: Tensor,
    scale: Tensor,
    shift: Tensor,
    noise: Tensor | None,
    noise_gain: Tensor | None,
) -> tuple[Tensor | None, ...]:
    """The same in operations that can be differentiated again, for R1."""
    axes = (1,) * (out.ndim - 2)
    space = tuple(range(2, out.ndim))
    g = grad * torch.where(out > 0, 1.0, LEAKY_SLOPE)
    before = torch.where(out > 0, out, out / LEAKY_SLOPE) - shift.view(1, -1, *axes)
    if noise is not None and noise_gain is not None:
        before = before - noise_gain * noise
    g_scale = (g * before).sum(space) / scale if ctx.needs_input_grad[1] else None
    g_gain = None if noise is None else (g * noise).sum()
    parts = Linear.apply(ctx.plan.adjoint(), ctx.parts, g * scale.view(*scale.shape, *axes))  # type: ignore[no-untyped-call]
    return (None, g_scale, g.sum((0, *space)), None, g_gain, *parts)


class _FinishImage(torch.autograd.Function):
    """leaky_relu(weight * image + bias) for one image channel; weight and bias [C]."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        image = image.contiguous()
        out = from_rows(compiled.from_image(image[:, 0], weight, bias, dtype))
        ctx.save_for_backward(image, weight, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        image, weight, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # R1 differentiates again
            axes = (1,) * (image.ndim - 2)
            g = grads[0] * torch.where(out > 0, 1.0, LEAKY_SLOPE)
            space = (0, *range(2, image.ndim))
            g_image = (g * weight.view(-1, *axes)).sum(1, keepdim=True)
            return g_image, (g * image).sum(space), g.sum(space), None
        g_image, sums = compiled.from_image_backward(
            to_rows(grads[0]), to_rows(out), image[:, 0], weight, to_image=ctx.needs_input_grad[0]
        )
        g_weight, g_bias = sums.sum(0)
        return None if g_image is None else g_image[:, None], g_weight, g_bias, None
