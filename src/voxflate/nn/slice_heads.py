"""The trained part of the slice discriminator: small heads on frozen features, one per plane and scale.

Shape letters: n slices; P positions of all scales together; O, I channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate.nn.functional import LEAKY_SLOPE

LOGITS_SIDE = 4
"""Heads halve a feature map until its side has at most this many positions."""


class SpectralConv(nn.Module):
    """2D convolution whose kernel, as a matrix [O, I k k], is divided by its largest singular value.

    The singular value is tracked by one power iteration after each optimiser step of any network
    (`after_step`), not per forward pass, so that a batch shown in parts gives the whole batch's gradients.

    Without tracking, the kernel is divided by its size along the leading singular directions of the initial
    kernel. This is not a bound: after 25 kimg, singular values reach 4 to 16 (decision 0198).

    Args:
        in_channels: I.
        out_channels: O.
        kernel_size: k.
        stride: Step of the output.
        padding: Zeros added on all sides.
        tracked: Whether the singular value is tracked.

    Source: Miyato et al. 2018, "Spectral normalization for generative adversarial networks".
    """

    left: Tensor
    right: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        *,
        tracked: bool,
    ) -> None:
        super().__init__()
        self.tracked = tracked
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        nn.init.kaiming_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.stride, self.padding = stride, padding
        self.register_buffer("left", F.normalize(torch.randn(out_channels), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(self.weight[0].numel()), dim=0))
        if self.weight.device.type != "meta":
            for _ in range(15):
                self._iterate()

    def forward(self, x: Tensor) -> Tensor:
        """[n, I, H, W] -> [n, O, H', W']; the norm is computed in float32 regardless of autocast."""
        with torch.autocast(x.device.type, enabled=False):
            norm = self.left @ self.weight.flatten(1) @ self.right
        return F.conv2d(x, self.weight / norm, self.bias, self.stride, self.padding)

    def after_step(self, sum_: Callable[[Sequence[Tensor]], None]) -> None:
        """Track the kernel's largest singular value; every process has the same kernel."""
        if self.tracked:
            self._iterate()

    def forget_step(self) -> None:
        """Do nothing: a failed step leaves the kernel as it was."""

    @torch.no_grad()
    def _iterate(self) -> None:
        matrix = self.weight.flatten(1)
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))
        self.right.copy_(F.normalize(self.left @ matrix, dim=0))


class SliceHeads(nn.Module):
    """One small discriminator per plane and scale.

    Args:
        planes: Number of planes, each with separate heads: 3 for volumes, 1 for images.
        sides: Side of the feature map at each scale, positions.
        width: Channels of every feature map.
        spectral_norm: Whether kernels are kept at a largest singular value of 1.
    """

    def __init__(self, planes: int, sides: Sequence[int], width: int = 64, *, spectral_norm: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.ModuleList(_head(side, width, spectral_norm) for side in sides) for _ in range(planes)
        )

    def forward(self, plane: int, features: Sequence[Tensor]) -> Tensor:
        """Judge slices of one plane.

        Args:
            plane: Index of the plane.
            features: One map per scale, [n, width, side, side].

        Returns:
            Logits, [n, P]; positive means real.
        """
        heads: nn.ModuleList = self.heads[plane]  # type: ignore[assignment]
        return torch.cat([head(x).flatten(1) for head, x in zip(heads, features, strict=True)], dim=1)


def _head(side: int, width: int, tracked: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    while side > LOGITS_SIDE:
        layers += [
            SpectralConv(width, width, 4, stride=2, padding=1, tracked=tracked),
            nn.LeakyReLU(LEAKY_SLOPE),
        ]
        side //= 2
    return nn.Sequential(*layers, SpectralConv(width, 1, 1, tracked=tracked))
