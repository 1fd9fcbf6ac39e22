"""Layers with an equalised learning rate: parameters have unit variance, the gain is applied at run time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate.nn.functional import bias_leaky_relu, conv
from voxflate.nn.resample import HALVE, SMOOTH_DOWN, LowPass, resample

Halving = Literal["none", "low-pass", "stride"]
"""How a convolution halves its axes: not at all; low-pass, then every second sample (StyleGAN2's); or only
every second sample, which keeps the finest textures visible (decision 0072)."""


class EqualLinear(nn.Module):
    """Fully connected layer; the stored weight is used as weight / sqrt(in) * lr_multiplier.

    Args:
        in_features: Inputs.
        out_features: Outputs.
        bias_init: Initial effective value of the bias.
        lr_multiplier: Slows the layer down; StyleGAN2 uses 0.01 in the mapping network.
        activation: Follow with the leaky ReLU.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activation: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.gain = lr_multiplier / in_features**0.5
        self.lr_multiplier = lr_multiplier
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out], in float32, because these layers are small and their sums are long."""
        with torch.autocast(x.device.type, enabled=False):
            x = F.linear(x.to(self.weight.dtype), self.weight * self.gain, self.bias * self.lr_multiplier)
            return bias_leaky_relu(x, None) if self.activation else x


def check_labels(embed: EqualLinear | None, labels: Tensor | None) -> None:
    """Refuse labels for a network without a label embedding, or missing labels for one with it.

    Raises:
        ValueError: Gives the expected and the actual width.
    """
    width = 0 if embed is None else embed.weight.shape[1]
    given = 0 if labels is None else labels.shape[1]
    if width != given:
        raise ValueError(f"this network takes label vectors of {width} numbers, got {given}")


class EqualConv(nn.Module):
    """Convolution without bias; the stored kernel is used as kernel / sqrt(fan-in).

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: One number per spatial axis.
        groups: Groups of channels.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sequence[int], *, groups: int = 1
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"channels must be a multiple of groups={groups}, got {in_channels} -> {out_channels}"
            )
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels // groups, *kernel_size))
        self.gain = self.weight[0].numel() ** -0.5
        self.groups = groups

    def low_pass(self, down: Halving) -> LowPass | None:
        """The low-pass of each axis before the convolution, if any.

        A kernel of one tap reads only the samples that remain, so its low-pass computes only those; it has
        one even for "stride", which would otherwise ignore all other samples.
        """
        if down != "none" and self._one_tap():
            return HALVE
        return SMOOTH_DOWN if down == "low-pass" else None

    def convolve(self, x: Tensor, down: Halving) -> Tensor:
        """Only the convolution, on the output of the low-pass."""
        kernel = self.weight * self.gain
        padding = 0 if self.low_pass(down) else tuple(k // 2 for k in kernel.shape[2:])
        stride = 1 if down == "none" or self._one_tap() else 2
        return conv(x, kernel, stride=stride, padding=padding, groups=self.groups)

    def forward(self, x: Tensor, down: Halving = "none") -> Tensor:
        """[N, I, *spatial] -> [N, O, *spatial], or half of every axis."""
        if (low_pass := self.low_pass(down)) is not None:
            x = resample(x, [low_pass] * (x.ndim - 2))
        return self.convolve(x, down)

    def _one_tap(self) -> bool:
        return self.weight[0, 0].numel() == 1


def stage_widths(stages: int, channels: int, finest_channels: int = 0) -> list[int]:
    """Channels of every resolution, from the base to the finest.

    Args:
        stages: Number of resolutions.
        channels: C at all of them but the finest.
        finest_channels: C at the finest; 0 for the same.
    """
    return [*[channels] * (stages - 1), finest_channels or channels]
