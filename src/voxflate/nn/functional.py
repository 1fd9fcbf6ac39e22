"""The operations of Eqs. 1-2 and small ones around them, in plain PyTorch, without parameters.

Every operation takes its number of spatial axes from the rank of its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

LEAKY_SLOPE = 0.2
"""Slope of the leaky ReLU for negative inputs (StyleGAN2)."""

LEAKY_GAIN = 2.0**0.5
"""Gain that keeps the variance of a leaky ReLU's output near that of its input (StyleGAN2)."""


def channels_last(x: Tensor) -> Tensor:
    """Convert [N, C, H, W] or [N, C, D, H, W] to the channels-last layout, which is fast for convolutions."""
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    return x.contiguous(memory_format=layout)


def to_rows(x: Tensor) -> Tensor:
    """View a channels-last tensor [N, C, *spatial] as rows of channels, [N, *spatial, C], contiguous."""
    return x.movedim(1, -1).contiguous()


def from_rows(rows: Tensor) -> Tensor:
    """Undo `to_rows`: [N, *spatial, C] -> [N, C, *spatial], channels-last without a copy."""
    return rows.movedim(-1, 1)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """View values [C] or [N, C] so that they broadcast over x [N, C, *spatial], in x's precision."""
    return values.view(*values.shape, *(1,) * (x.ndim - 2)).to(x.dtype)


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
        kernel: [O, I / groups, *k]; if `transposed`, also [O, I, *k] (PyTorch's order is made here).
        stride: Step per axis, of the input or, when transposed, of the output.
        padding: Zeros added on both sides, per axis.
        transposed: Insert zeros between the input's samples, then convolve (the up-convolution).
        groups: Number of independent groups of channels.

    Returns:
        [N, O, *spatial'].

    Raises:
        ValueError: If a transposed convolution has several groups.
    """
    spatial_dims = kernel.ndim - 2
    narrow = _is_bfloat16_on_cpu(x)
    one_tap = kernel.numel() == kernel.shape[0] * kernel.shape[1] and groups == 1 and stride == 1
    if one_tap and padding in (0, (0,) * spatial_dims) and not transposed and not narrow:
        # A matrix product over the channels needs no convolution set-up. In bfloat16 the kernel's gradient
        # takes five times as long with it as with the convolution.
        return mix_channels(x, kernel.flatten(1))
    # Decision 0006: with PyTorch 2.13 the bfloat16 weight gradient of a 3D convolution is silently NaN when
    # the input is two voxels deep, as it always is at base 2x4x4.
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


def takes_cpu_form(x: Tensor) -> bool:
    """Say whether to use the forms that are fastest on a CPU when operations run one by one.

    torch.compile makes its own kernels of the plain forms, and refuses these.
    """
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_dynamo_compiling()


def _is_bfloat16_on_cpu(x: Tensor) -> bool:
    """Tell whether PyTorch would convolve this on the CPU in bfloat16."""
    return x.device.type == "cpu" and (x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"))


def modulated_conv(
    x: Tensor,
    kernel: Tensor,
    style: Tensor,
    *,
    up_stride: Sequence[int] | None = None,
    eps: float = 1e-8,
) -> Tensor:
    """Convolve every sample with its own modulated and demodulated kernel (Eqs. 1-2).

    With w'[n,o,i,k] = s[n,i] w[o,i,k] and w'' = w' / sqrt(sum_{i,k} w'^2 + eps), the convolution is
    linear in its input, so w'' * x = d[n,o] (w * (s x)) with d = 1 / sqrt(sum_i s^2 sum_k w^2 + eps):
    activations are scaled, the kernel is shared, and no kernel is built per sample (decision 0013).

    Args:
        x: [N, I, *spatial].
        kernel: Shared kernel w, [O, I, *k].
        style: Scale s of each input channel, [N, I].
        up_stride: Zero-insertion factor per axis for the up-convolution; None keeps the size.
        eps: Keeps Eq. 2 finite for a zero kernel.

    Returns:
        w'' * x, [N, O, *spatial]. In an up-convolution the size of axis a is (n - 1) up_stride[a] + k[a].

    Source: Eqs. 1-2.
    """
    y = shared_conv(x * per_channel(style, x), kernel, up_stride)
    return y * per_channel(demodulation(kernel, style, eps), y)


def shared_conv(x: Tensor, kernel: Tensor, up_stride: Sequence[int] | None) -> Tensor:
    """The convolution inside `modulated_conv`: keep the size, or insert zeros and convolve."""
    if up_stride is None:
        return conv(x, kernel, padding=tuple(k // 2 for k in kernel.shape[2:]))
    return conv(x, kernel, stride=up_stride, transposed=True)


def demodulation(kernel: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """The inverse of Eq. 2's divisor: [N, O] from a kernel [O, I, *k] and styles [N, I].

    Computed in the parameters' precision regardless of autocast, because it is a sum of hundreds of squares.
    """
    with torch.autocast(kernel.device.type, enabled=False):
        energy = kernel.flatten(2).square().sum(2)  # [O, I]
        return (style.to(kernel.dtype).square() @ energy.t() + eps).rsqrt()


def weighted_sums(x: Tensor, mix: Tensor) -> Tensor:
    """Mix the channels with weights per sample: a 1x1 modulated convolution to an image (Eq. 1).

    For one output channel, sums take a third of the time of a matrix product, including backward; for
    several, the product reads the features only once. Sums are float32 at least, as in the fused path.

    Args:
        x: [N, I, *spatial].
        mix: [N, O, I].

    Returns:
        [N, O, *spatial].
    """
    if mix.shape[1] == 1:
        wide = torch.promote_types(x.dtype, torch.float32)
        return (x * per_channel(mix[:, 0], x)).sum(dim=1, dtype=wide).unsqueeze(1)
    rows = to_rows(x)
    mixed = rows.flatten(1, -2) @ mix.transpose(1, 2).to(x.dtype)  # [N, voxels, O]
    return from_rows(mixed.view(*rows.shape[:-1], -1))


def add_noise(x: Tensor, noise: Tensor, strength: Tensor) -> Tensor:
    """Add noise [N, 1, *spatial] times `strength`, a scalar, to all channels of x [N, C, *spatial]."""
    return x + (noise * strength).to(x.dtype)


def bias_leaky_relu(x: Tensor, bias: Tensor | None) -> Tensor:
    """Add a bias per channel, apply the leaky ReLU, and scale by sqrt(2).

    The leaky ReLU is positively homogeneous, so the scale is applied before it, together with the bias.

    Args:
        x: [N, C, ...].
        bias: [C] or None.

    Returns:
        A tensor of x's shape.
    """
    x = x * LEAKY_GAIN if bias is None else torch.add(per_channel(bias * LEAKY_GAIN, x), x, alpha=LEAKY_GAIN)
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
    if len(rows) == 2 and all(takes_cpu_form(row) for row in rows):
        return from_rows(_Interleave.apply(*rows))  # type: ignore[no-untyped-call]
    return from_rows(torch.stack(rows, dim=-1).flatten(-2))


class _Interleave(torch.autograd.Function):
    """Interleave the last axis of two tensors: as complex numbers, five times faster than `torch.stack`."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return torch.view_as_real(torch.complex(a, b)).flatten(-2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, b = _Deinterleave.apply(grads[0].contiguous())  # type: ignore[no-untyped-call]
        return a, b


class _Deinterleave(torch.autograd.Function):
    """Undo `_Interleave`; a separate function, because R1 differentiates the backward pass again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        # Adding zero makes a dense copy, here faster than `contiguous`.
        return pairs.real + 0, pairs.imag + 0

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        joined: Tensor = _Interleave.apply(grads[0].contiguous(), grads[1].contiguous())  # type: ignore[no-untyped-call]
        return joined


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """Append one channel: the standard deviation over a group's samples, averaged over channels and voxels.

    Groups are consecutive samples. A batch of fakes followed by reals mixes the two if half of it is smaller
    than the group; `config.build` keeps groups as small as a batch.

    Args:
        x: [N, C, *spatial].
        group: Samples per group; N must be a multiple of it, or smaller than it.

    Returns:
        [N, C + 1, *spatial].

    Raises:
        ValueError: If N is larger than the group and not a multiple of it.

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
