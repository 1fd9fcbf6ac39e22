"""The convolutions in which the six architectures differ (Sec. 3.3, Fig. 3).

`STYLED_CONVS` has the generator's (modulated) convolutions, `CONVS` the discriminator's. To add one, write a
class here and add a line to its table; an architecture is a pair of names in `ARCHITECTURES`. The fused path
runs modules that it does not know (`nn/fused/convs.py`) as plain modules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from voxflate.nn.functional import channel_shuffle, channels_last, modulated_conv, per_channel
from voxflate.nn.layers import EqualConv, Halving


def _half(channels: int) -> int:
    if channels % 2:
        raise ValueError(f"channels must be even to be split, got {channels}; choose an even number")
    return channels // 2


def _join(branches: Sequence[Tensor], *, shuffle: bool) -> Tensor:
    """One tensor [N, C, *spatial] from branches [N, C / 2, *spatial], channels-last."""
    return channel_shuffle(branches) if shuffle else channels_last(torch.cat(list(branches), dim=1))


class ModulatedConv(nn.Module):
    """One modulated convolution over all channels (Eqs. 1-2)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel_size))
        # Demodulation makes the result independent of this gain; it keeps activations of order one. Epsilon
        # is scaled with it, so that padding a kernel with zeros changes nothing (planar inflation).
        self.gain = self.weight[0].numel() ** -0.5
        self.eps = 1e-8 * self.gain**2

    def forward(self, x: Tensor, style: Tensor, up_stride: Sequence[int] | None = None) -> Tensor:
        """Convolve as in `modulated_conv`: [N, I, *spatial] and the style [N, I] -> [N, O, *spatial']."""
        return modulated_conv(x, self.weight * self.gain, style, up_stride=up_stride, eps=self.eps)


class SplitModulatedConv(nn.Module):
    """Two modulated convolutions, each on half of the channels, modulated and demodulated separately.

    Args:
        in_channels: I, even.
        out_channels: O, even.
        kernel_size: One number per spatial axis.
        shuffle: Interleave the branches' channels (Split&Shuffle); else concatenate them (Split).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sequence[int], *, shuffle: bool
    ) -> None:
        super().__init__()
        half_in, half_out = _half(in_channels), _half(out_channels)
        self.branches = nn.ModuleList(ModulatedConv(half_in, half_out, kernel_size) for _ in range(2))
        self.shuffle = shuffle

    def forward(self, x: Tensor, style: Tensor, up_stride: Sequence[int] | None = None) -> Tensor:
        """[N, I, *spatial] and the style [N, I] -> [N, O, *spatial']."""
        halves = zip(self.branches, x.chunk(2, dim=1), style.chunk(2, dim=1), strict=True)
        return _join([branch(half, s, up_stride) for branch, half, s in halves], shuffle=self.shuffle)


class DepthwiseConv(nn.Module):
    """Depthwise convolution followed by a pointwise one."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Sequence[int]) -> None:
        super().__init__()
        self.depthwise = EqualConv(in_channels, in_channels, kernel_size, groups=in_channels)
        self.pointwise = EqualConv(in_channels, out_channels, (1,) * len(kernel_size))

    def forward(self, x: Tensor, down: Halving = "none") -> Tensor:
        """[N, I, *spatial] -> [N, O, *spatial], or half of every axis."""
        y: Tensor = self.pointwise(self.depthwise(x, down))
        return y


class SplitConv(nn.Module):
    """Two branches on half of the channels: 3x3x3, and 1x1x1 or (symmetric) 3x3x3 (Fig. 3).

    Channels that cannot be halved (the 33 after the minibatch standard deviation) first pass a 1x1x1
    convolution with bias to the number of output channels (as the paper's parameter counts require).

    Args:
        in_channels: I.
        out_channels: O, even.
        kernel_size: Kernel of the first branch.
        shuffle: Interleave the branches' channels; else concatenate them.
        symmetric: Give the second branch the same kernel size (Table 5's parameter count).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        *,
        shuffle: bool,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        point = (1,) * len(kernel_size)
        self.even: EqualConv | None = None
        if in_channels % 2:
            self.even = EqualConv(in_channels, out_channels, point)
            self.even_bias = nn.Parameter(torch.zeros(out_channels))
            in_channels = out_channels
        sizes = (kernel_size, kernel_size if symmetric else point)
        half_in, half_out = _half(in_channels), _half(out_channels)
        self.branches = nn.ModuleList(EqualConv(half_in, half_out, size) for size in sizes)
        self.shuffle = shuffle

    def even_out(self, x: Tensor) -> Tensor:
        """Give x an even number of channels."""
        if self.even is None:
            return x
        y: Tensor = self.even(x)
        return y + per_channel(self.even_bias, y)

    def forward(self, x: Tensor, down: Halving = "none") -> Tensor:
        """[N, I, *spatial] -> [N, O, *spatial], or half of every axis."""
        halves = zip(self.branches, self.even_out(x).chunk(2, dim=1), strict=True)
        return _join([branch(half, down) for branch, half in halves], shuffle=self.shuffle)


def _group4(in_channels: int, out_channels: int, kernel_size: Sequence[int]) -> nn.Module:
    # The epilogue's 33 channels cannot be split into 4 groups and stay dense, as in the paper's count.
    groups = 4 if in_channels % 4 == 0 else 1
    return EqualConv(in_channels, out_channels, kernel_size, groups=groups)


ConvFactory = Callable[[int, int, Sequence[int]], nn.Module]

STYLED_CONVS: dict[str, ConvFactory] = {
    "plain": ModulatedConv,
    "split": lambda i, o, k: SplitModulatedConv(i, o, k, shuffle=False),
    "split-shuffle": lambda i, o, k: SplitModulatedConv(i, o, k, shuffle=True),
}

CONVS: dict[str, ConvFactory] = {
    "plain": EqualConv,
    "group": _group4,
    "depthwise": DepthwiseConv,
    "split": lambda i, o, k: SplitConv(i, o, k, shuffle=False),
    "split-shuffle": lambda i, o, k: SplitConv(i, o, k, shuffle=True),
    "split-symmetric": lambda i, o, k: SplitConv(i, o, k, shuffle=False, symmetric=True),
    "split-shuffle-symmetric": lambda i, o, k: SplitConv(i, o, k, shuffle=True, symmetric=True),
}


class Architecture(NamedTuple):
    """The convolutions of both networks: a key of `STYLED_CONVS`, a key of `CONVS`."""

    generator: str
    discriminator: str


ARCHITECTURES: dict[str, Architecture] = {
    "baseline": Architecture("plain", "plain"),
    "group-d": Architecture("plain", "group"),
    "depthwise-d": Architecture("plain", "depthwise"),
    "split-shuffle-d": Architecture("plain", "split-shuffle"),
    "split": Architecture("split", "split"),
    "split-shuffle": Architecture("split-shuffle", "split-shuffle"),
}
"""The rows of Tables 3 and 4."""
