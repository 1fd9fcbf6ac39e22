"""The blocks of a discriminator (Fig. 2): from the image, residual block, and the epilogue to the logit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxflate.nn.conv_modules import CONVS
from voxflate.nn.functional import bias_leaky_relu, minibatch_std, mix_channels
from voxflate.nn.layers import EqualConv, EqualLinear, Halving, check_labels

SKIP_GAIN = 0.5**0.5
"""Gain of both branches of a residual block, which keeps the variance of their sum (StyleGAN2)."""


def depth_ramp(depth: int, device: torch.device | None = None) -> Tensor:
    """Position of each axial slice, from -1 (lowest) to 1 (highest), [depth]."""
    return torch.linspace(-1.0, 1.0, depth, device=device) if depth > 1 else torch.zeros(1, device=device)


class FromImage(nn.Module):
    """1x1 convolution from image channels, bias, leaky ReLU ("fromRGB" in the literature).

    Args:
        image_channels: Channels of the input.
        channels: C.
        spatial_dims: 2 or 3.
        position: Add one weight per channel times the axial position: for a slice its own position, for a
            volume a ramp along its depth. A planar twin's discriminator needs it.
    """

    def __init__(
        self, image_channels: int, channels: int, spatial_dims: int, *, position: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, image_channels, *(1,) * spatial_dims))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.position = nn.Parameter(torch.zeros(channels)) if position else None
        self.gain = image_channels**-0.5

    def kernel(self) -> Tensor:
        """Kernel of the convolution, [C, image_channels]."""
        kernel: Tensor = self.weight.flatten(1) * self.gain
        return kernel

    def forward(self, image: Tensor, positions: Tensor | None) -> Tensor:
        """[N, image_channels, *spatial] and, for slices, positions in [-1, 1], [N] -> [N, C, *spatial]."""
        return bias_leaky_relu(self.before_bias(image, positions), self.bias)

    def before_bias(self, image: Tensor, positions: Tensor | None) -> Tensor:
        """The convolution, with positions if the network uses them.

        Raises:
            ValueError: If it uses positions and a slice has none.
        """
        x = mix_channels(image, self.kernel())
        if self.position is None:
            return x
        if image.ndim == 5:
            where = depth_ramp(image.shape[2], image.device).view(1, 1, -1, 1, 1)
        elif positions is None:
            raise ValueError(
                "this discriminator judges a slice by its position: pass positions [N] in [-1, 1]"
            )
        else:
            where = positions.view(-1, 1, 1, 1)
        return x + (where * self.position.view(-1, *(1,) * (image.ndim - 2))).to(x.dtype)


class DiscriminatorStage(nn.Module):
    """Residual block: two convolutions, the second of which halves every axis, and a 1x1 skip connection."""

    def __init__(self, in_channels: int, channels: int, spatial_dims: int, conv: str, down: Halving) -> None:
        super().__init__()
        self.down: Halving = down
        kernel_size = (3,) * spatial_dims
        self.conv0 = CONVS[conv](in_channels, in_channels, kernel_size)
        self.bias0 = nn.Parameter(torch.zeros(in_channels))
        self.conv1 = CONVS[conv](in_channels, channels, kernel_size)
        self.bias1 = nn.Parameter(torch.zeros(channels))
        self.skip = EqualConv(in_channels, channels, (1,) * spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, *spatial] -> [N, C, *spatial / 2]."""
        skip: Tensor = self.skip(x, down="low-pass")
        x = bias_leaky_relu(self.conv0(x), self.bias0)
        x = bias_leaky_relu(self.conv1(x, down=self.down), self.bias1)
        return (x + skip) * SKIP_GAIN


class Epilogue(nn.Module):
    """Minibatch standard deviation, convolution, flattened fully connected layer, logit.

    With labels y the logit is psi(h) + <V y, h>, where h is the output of the fully connected layer: the
    second term tells whether an image matches its labels.

    Source: Miyato and Koyama 2018, "cGANs with projection discriminator", Eq. 4.
    """

    def __init__(
        self, channels: int, base: Sequence[int], conv: str, group: int, label_width: int = 0
    ) -> None:
        super().__init__()
        self.group = group
        self.conv = CONVS[conv](channels + 1, channels, (3,) * len(base))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.fc = EqualLinear(channels * torch.Size(base).numel(), channels, activation=True)
        self.out = EqualLinear(channels, 1)
        self.embed = EqualLinear(label_width, channels) if label_width else None

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[N, C, *base] and label vectors [N, label_width], if any -> logits [N]."""
        x = minibatch_std(x, self.group)
        x = bias_leaky_relu(self.conv(x), self.bias)
        return self.logits(x, labels)

    def logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The fully connected layers: [N, C, *base] -> [N]."""
        check_labels(self.embed, labels)
        features: Tensor = self.fc(x.flatten(1))  # the flattening is channel-major
        logits: Tensor = self.out(features).squeeze(1)
        if self.embed is None:
            return logits
        projected: Tensor = (self.embed(labels) * features).sum(1)
        return torch.add(logits, projected, alpha=features.shape[1] ** -0.5)
