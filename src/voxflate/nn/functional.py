"""The operations of Eqs. 1-2 and the small ones around them; no parameters live here.

Every operation takes its number of spatial axes from the rank of its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from voxflate.nn import compiled

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

LEAKY_SLOPE = 0.2
"""Slope of the leaky ReLU for negative inputs (StyleGAN2)."""

LEAKY_GAIN = 2.0**0.5
"""Keeps the variance of a leaky ReLU's output near that of its input (StyleGAN2)."""


def channels_last(x: Tensor) -> Tensor:
    """Give [N, C, H, W] or [N, C, D, H, W] the channels-last layout, the fast one for convolutions."""
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=layout)


def to_rows(x: Tensor) -> Tensor:
    """View a channels-last tensor [N, C, *spatial] as rows of channels, [N, *spatial, C], contiguous."""
    return x.movedim(1, -1).contiguous()


def from_rows(rows: Tensor) -> Tensor:
    """Undo `to_rows`: [N, *spatial, C] -> [N, C, *spatial], channels-last without a copy."""
    return rows.movedim(-1, 1)


def mix_channels(x: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the channels by a matrix [O, I]: [N, I, *spatial] -> [N, O, *spatial]."""
    return from_rows(to_rows(x) @ matrix.t().to(x.dtype))


def conv(
    x: Tensor,
    kernel: Tensor,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    transposed: bool = False,
    groups: int = 1,
) -> Tensor:
    """Convolve with as many spatial axes as the kernel has.

    Args:
        x: Input, [N, I, *spatial].
        kernel: [O, I / groups, *k]; for `transposed` also [O, I, *k] (it is turned here).
        stride: Step per axis, of the input or, when transposed, of the output.
        padding: Zeros added on both sides, per axis.
        transposed: Insert zeros between the input's samples, then convolve (the up-convolution).
        groups: Groups of channels that do not see each other.

    Returns:
        [N, O, *spatial'].
    """
    spatial_dims = kernel.ndim - 2
    narrow = _is_bfloat16_on_cpu(x)
    one_tap = kernel.numel() == kernel.shape[0] * kernel.shape[1] and groups == 1 and stride == 1
    if one_tap and not transposed and not narrow:
        # A matrix product over the channels, which needs no convolution set-up. In bfloat16 its product for
        # the kernel's gradient takes five times as long as the convolution's.
        return mix_channels(x, kernel.flatten(1))
    # Decision 0006: with PyTorch 2.13 the bfloat16 weight gradient of a 3D convolution is NaN, silently, when
    # the input is two voxels deep. Base 2x4x4 always is.
    if narrow and x.ndim == 5 and x.shape[2] == 2:
        with torch.autocast(x.device.type, enabled=False):
            return conv(
                x.float(),
                kernel.float(),
                stride=stride,
                padding=padding,
                transposed=transposed,
                groups=groups,
            )
    if transposed:
        if groups != 1:
            raise ValueError(f"a transposed convolution here has one group, got {groups}")
        return _CONV_TRANSPOSE[spatial_dims](x, kernel.transpose(0, 1), stride=stride, padding=padding)
    return _CONV[spatial_dims](x, kernel, stride=stride, padding=padding, groups=groups)


def _is_bfloat16_on_cpu(x: Tensor) -> bool:
    """Say whether PyTorch convolves this on the CPU in bfloat16."""
    return x.device.type == "cpu" and (x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"))


def modulated_conv(
    modulated: Tensor,
    kernel: Tensor,
    style: Tensor,
    *,
    up_stride: Sequence[int] | None = None,
    eps: float = 1e-8,
) -> tuple[Tensor, Tensor]:
    """Convolve every sample with its own modulated kernel; demodulation comes as a factor (Eqs. 1-2).

    With w'[n,o,i,k] = s[n,i] w[o,i,k] and w'' = w' / sqrt(sum_{i,k} w'^2 + eps), the convolution is
    linear in its input, so w'' * x = d[n,o] (w * (s x)) with d = 1 / sqrt(sum_i s^2 sum_k w^2 + eps):
    activations are scaled, the kernel is shared, and no kernel is built per sample.

    Args:
        modulated: The scaled input s x of `modulate`, [N, I, *spatial].
        kernel: Shared kernel w, [O, I, *k].
        style: Scale s of each input channel, [N, I].
        up_stride: Zero-insertion factor per axis for the up-convolution; None keeps the size.
        eps: Keeps Eq. 2 finite for a zero kernel.

    Returns:
        (w' * x, d): [N, O, *spatial] and [N, O]; their product is the demodulated convolution. The caller
        multiplies, together with noise and bias in one pass (`styled_epilogue`). In an up-convolution the
        size of axis a is (n - 1) up_stride[a] + k[a].

    Source: Eqs. 1-2.
    """
    if up_stride is None:
        y = conv(modulated, kernel, padding=tuple(k // 2 for k in kernel.shape[2:]))
    else:
        y = conv(modulated, kernel, stride=up_stride, transposed=True)
    return y, demodulation(kernel, style, eps)


def modulate(x: Tensor, style: Tensor, parts: int = 1) -> tuple[Tensor, ...]:
    """Scale every channel of every sample (Eq. 1), and cut the channels into parts.

    Args:
        x: [N, I, *spatial].
        style: [N, I].
        parts: 1 or 2.

    Returns:
        [N, I / parts, *spatial] each.
    """
    if compiled.usable(x, small=(style,)):
        # Dense before it is saved: a copy made inside would cut second derivatives off.
        return _Modulate.apply(x, style.contiguous(), parts)  # type: ignore[no-untyped-call,no-any-return]
    pairs = zip(x.chunk(parts, dim=1), style.chunk(parts, dim=1), strict=True)
    return tuple(part * s.view(*s.shape, *(1,) * (x.ndim - 2)).to(x.dtype) for part, s in pairs)


def halves(x: Tensor) -> tuple[Tensor, ...]:
    """The first and the second half of the channels, [N, C / 2, *spatial] each."""
    if compiled.usable(x):
        return _Modulate.apply(x, None, 2)  # type: ignore[no-untyped-call,no-any-return]
    return x.chunk(2, dim=1)


class _Modulate(torch.autograd.Function):
    """Scale and cut with the compiled kernels: one sweep there, one back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, style: Tensor | None, parts: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(x, style)
        return tuple(map(from_rows, compiled.modulate(to_rows(x), style, parts)))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, style = ctx.saved_tensors
        if torch.is_grad_enabled():  # R1 differentiates again
            g = torch.cat(grads, dim=1)
            if style is None:
                return g, None, None
            axes = (1,) * (x.ndim - 2)
            return g * style.view(*style.shape, *axes), (g * x).flatten(2).sum(2), None
        gx, g_style = compiled.modulate_backward([to_rows(g) for g in grads], to_rows(x), style)
        return from_rows(gx), g_style, None


def demodulation(kernel: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """The factor that Eq. 2 divides by, inverted: [N, O] from a kernel [O, I, *k] and styles [N, I].

    In the parameters' precision whatever autocast says: it is a sum of hundreds of squares.
    """
    with torch.autocast(kernel.device.type, enabled=False):
        energy = kernel.flatten(2).square().sum(2)  # [O, I]
        return (style.to(kernel.dtype).square() @ energy.t() + eps).rsqrt()


def weighted_sums(x: Tensor, mix: Tensor) -> Tensor:
    """Mix the channels, every sample with its own weights: a 1x1 modulated convolution to an image (Eq. 1).

    For one output channel sums are three times quicker, backward included, than a matrix product.

    Args:
        x: [N, I, *spatial].
        mix: [N, O, I].

    Returns:
        [N, O, *spatial].
    """
    if mix.shape[1] == 1 and compiled.usable(x, small=(mix,)):
        return WeightedSum.apply(x, mix[:, 0].contiguous())  # type: ignore[no-untyped-call,no-any-return]
    weights = mix.view(*mix.shape, *(1,) * (x.ndim - 2)).to(x.dtype)
    return torch.stack([(x * weight).sum(dim=1) for weight in weights.unbind(1)], dim=1)


class WeightedSum(torch.autograd.Function):
    """Weighted sum over the channels, [N, C, *spatial] and dense [N, C] -> [N, 1, *spatial], compiled."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """Of compiled kernels."""
        ctx.save_for_backward(x, weight)
        return compiled.to_image(to_rows(x), weight).unsqueeze(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        """Of both; in differentiable operations where R1 differentiates again."""
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            axes = (1,) * (x.ndim - 2)
            return grads[0] * weight.view(*weight.shape, *axes), (grads[0] * x).flatten(2).sum(2)
        gx, g_weight = compiled.to_image_backward(grads[0].contiguous(), to_rows(x), weight)
        return from_rows(gx), g_weight


def styled_epilogue(
    x: Tensor, demodulation: Tensor, noise: Tensor, noise_strength: Tensor, bias: Tensor
) -> Tensor:
    """Demodulate, add noise and bias, apply the leaky ReLU scaled by sqrt(2): three passes over memory.

    The leaky ReLU is positively homogeneous, so its gain goes into the small factors before it.

    Args:
        x: Output of a modulated convolution, [N, C, *spatial].
        demodulation: [N, C].
        noise: [N, 1, *spatial], standard normal.
        noise_strength: Scalar B of Fig. 2.
        bias: [C].

    Returns:
        [N, C, *spatial].
    """
    axes = (1,) * (x.ndim - 2)
    scale = (demodulation * LEAKY_GAIN).view(*demodulation.shape, *axes).to(x.dtype)
    shift = (bias * LEAKY_GAIN).view(1, -1, *axes).to(x.dtype)
    y = torch.addcmul(shift, x, scale)
    y = y.add_((noise * (noise_strength * LEAKY_GAIN)).to(x.dtype))
    return F.leaky_relu_(y, LEAKY_SLOPE)


def activate(x: Tensor, bias: Tensor | None = None, gain: float = 1.0) -> Tensor:
    """Add a bias per channel, apply the leaky ReLU, and scale by sqrt(2) * gain.

    Args:
        x: [N, C, ...].
        bias: [C] or None.
        gain: Extra factor on the output, e.g. sqrt(1/2) on a residual branch.
    """
    gain *= LEAKY_GAIN
    if bias is None:
        x = x * gain
    else:
        x = torch.add((bias * gain).view(-1, *(1,) * (x.ndim - 2)).to(x.dtype), x, alpha=gain)
    return F.leaky_relu_(x, LEAKY_SLOPE)


def channel_shuffle(branches: Sequence[Tensor]) -> Tensor:
    """Interleave the channels of equal branches: (a0 a1 ..), (b0 b1 ..) -> a0 b0 a1 b1 ... (Fig. 3).

    Concatenation and shuffle are one copy: the branches are stacked on the innermost axis of the
    channels-last layout.

    Args:
        branches: G tensors [N, C / G, *spatial].

    Returns:
        [N, C, *spatial], channels-last.
    """
    rows = [to_rows(branch) for branch in branches]
    # Under autocast one branch may be float32, the other bfloat16: stacking promotes, complex numbers do not.
    if len(rows) == 2 and all(row.dtype == torch.float32 and row.device.type == "cpu" for row in rows):
        return from_rows(_Interleave.apply(*rows))  # type: ignore[no-untyped-call]
    return from_rows(torch.stack(rows, dim=-1).flatten(-2))


class _Interleave(torch.autograd.Function):
    """Interleave the last axis of two tensors: as complex numbers, five times quicker than `torch.stack`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return torch.view_as_real(torch.complex(a, b)).flatten(-2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b = _Deinterleave.apply(grads[0].contiguous())  # type: ignore[no-untyped-call]
        return a, b


class _Deinterleave(torch.autograd.Function):
    """Undo `_Interleave`; a function of its own because R1 differentiates the backward pass again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        # Adding zero makes a dense copy, for once quicker than `contiguous`.
        return pairs.real + 0, pairs.imag + 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        joined: Tensor = _Interleave.apply(grads[0].contiguous(), grads[1].contiguous())  # type: ignore[no-untyped-call]
        return joined


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """Append one channel: how much the samples of a group differ, averaged over channels and voxels.

    Groups are consecutive samples, so a batch of fakes followed by reals never mixes the two.

    Args:
        x: [N, C, *spatial].
        group: Samples per group; N must be a multiple of it, or smaller than it.

    Returns:
        [N, C + 1, *spatial].

    Raises:
        ValueError: If N is larger than the group and no multiple of it.

    Source: Sec. 3.1.1, "Discriminator".
    """
    n = len(x)
    group = min(group, n)
    if n % group:
        raise ValueError(f"minibatch_std: {n} samples do not make groups of {group}")
    grouped = x.float().reshape(n // group, group, -1)
    deviation = (grouped.var(dim=1, correction=0) + 1e-8).sqrt().mean(dim=1)  # [N / group]
    channel = deviation.repeat_interleave(group).view(n, 1, *(1,) * (x.ndim - 2)).to(x.dtype)
    return channels_last(torch.cat([x, channel.expand(n, 1, *x.shape[2:])], dim=1))


def pixel_norm(z: Tensor) -> Tensor:
    """Scale each latent code to unit root mean square, [N, z_dim] -> [N, z_dim]."""
    return z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
