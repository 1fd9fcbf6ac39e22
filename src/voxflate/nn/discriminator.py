"""Residual discriminator (Fig. 2), for images and volumes alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxflate.nn.conv_modules import CONVS, SplitConv
from voxflate.nn.epilogue import finish, finish_image
from voxflate.nn.functional import channels_last, minibatch_std, mix_channels
from voxflate.nn.layers import EqualConv, EqualLinear, Halving
from voxflate.nn.recompute import run_stage
from voxflate.nn.resample import fork


def depth_ramp(depth: int, device: torch.device | None = None) -> Tensor:
    """Where each axial slice lies, from -1 (lowest) to 1 (highest), [depth]."""
    return torch.linspace(-1.0, 1.0, depth, device=device) if depth > 1 else torch.zeros(1, device=device)


class FromImage(nn.Module):
    """1x1 convolution from image channels, bias, leaky ReLU ("fromRGB" of the literature).

    Args:
        image_channels: Channels of the input.
        channels: C.
        spatial_dims: 2 or 3.
        position: Add one weight per channel times the axial position: an image is told its own, a volume
            has the ramp along its depth. A planar twin's discriminator needs it.
    """

    def __init__(
        self, image_channels: int, channels: int, spatial_dims: int, *, position: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, image_channels, *(1,) * spatial_dims))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.position = nn.Parameter(torch.zeros(channels)) if position else None
        self.gain = image_channels**-0.5

    def forward(self, image: Tensor, positions: Tensor | None) -> Tensor:
        """[N, image_channels, *spatial] and, for slices, positions in [-1, 1], [N] -> [N, C, *spatial]."""
        kernel = self.weight.flatten(1) * self.gain
        if self.position is None:
            return finish_image(image, kernel, self.bias)
        if image.ndim == 5:
            where = depth_ramp(image.shape[2], image.device).view(1, 1, -1, 1, 1)
        elif positions is None:
            raise ValueError(
                "this discriminator judges a slice by its position: pass positions [N] in [-1, 1]"
            )
        else:
            where = positions.view(-1, 1, 1, 1)
        x = mix_channels(image, kernel)
        x = x + (where * self.position.view(-1, *(1,) * (image.ndim - 2))).to(x.dtype)
        return finish(x, self.bias)[0]


class DiscriminatorStage(nn.Module):
    """Residual block: two convolutions, the second halving every axis, beside a 1x1 skip connection."""

    def __init__(self, channels: int, spatial_dims: int, conv: str, down: Halving) -> None:
        super().__init__()
        self.down: Halving = down
        kernel_size = (3,) * spatial_dims
        self.conv0 = CONVS[conv](channels, channels, kernel_size)
        self.bias0 = nn.Parameter(torch.zeros(channels))
        self.conv1 = CONVS[conv](channels, channels, kernel_size)
        self.bias1 = nn.Parameter(torch.zeros(channels))
        self.skip = EqualConv(channels, channels, (1,) * spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, *spatial] -> [N, C, *spatial / 2]."""
        parts = 2 if isinstance(self.conv0, SplitConv) else 1
        inputs, small = fork(x, parts)
        skip = self.skip(small)
        inputs = finish(self.conv0(inputs if parts == 2 else inputs[0]), self.bias0, parts=parts)
        y = self.conv1(inputs if parts == 2 else inputs[0], down=self.down)
        # sqrt(1/2) on both branches keeps the variance of their sum.
        (x,) = finish(y, self.bias1, gain=0.5**0.5)
        return torch.add(x, skip, alpha=0.5**0.5)


class Epilogue(nn.Module):
    """Minibatch standard deviation, convolution, flattened fully connected layer, logit."""

    def __init__(self, channels: int, base: Sequence[int], conv: str, group: int) -> None:
        super().__init__()
        self.group = group
        self.conv = CONVS[conv](channels + 1, channels, (3,) * len(base))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.fc = EqualLinear(channels * torch.Size(base).numel(), channels, activation=True)
        self.out = EqualLinear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, *base] -> logits [N]."""
        (x,) = finish(self.conv(minibatch_std(x, self.group)), self.bias)
        logits: Tensor = self.out(self.fc(x.flatten(1)))  # the flattening is channel-major
        return logits.squeeze(1)


class Discriminator(nn.Module):
    """Tell real images from generated ones.

    Args:
        base: Size at which the last block works; its length is the number of spatial axes.
        stages: Resolutions, the base included; the input is base * 2^(stages - 1).
        channels: C at every resolution.
        conv: Key of `CONVS`.
        image_channels: Channels of the input.
        mbstd_group: Samples per group of the minibatch standard deviation.
        position: See `FromImage`.
        low_pass: Low-pass in front of the strided convolutions, as in StyleGAN2; without it they see the
            finest textures (decision 0072). The skip connections always have it.

    Source: Fig. 2; Sec. 3.1.1, "Discriminator".
    """

    def __init__(
        self,
        base: Sequence[int],
        stages: int,
        channels: int = 32,
        conv: str = "split-shuffle",
        image_channels: int = 1,
        *,
        mbstd_group: int = 4,
        position: bool = False,
        low_pass: bool = True,
    ) -> None:
        super().__init__()
        self.base = tuple(base)
        self.recompute = False
        self.shape = tuple(size * 2 ** (stages - 1) for size in base)
        self.from_image = FromImage(image_channels, channels, len(base), position=position)
        down: Halving = "low-pass" if low_pass else "stride"
        self.stages = nn.ModuleList(
            DiscriminatorStage(channels, len(base), conv, down) for _ in range(stages - 1)
        )
        # A depthwise discriminator is depthwise in its epilogue too; Group-D falls back to dense there.
        self.epilogue = Epilogue(channels, base, conv, mbstd_group)

    def forward(self, image: Tensor, positions: Tensor | None = None) -> Tensor:
        """Judge images.

        Args:
            image: [N, image_channels, *shape] in about [-1, 1].
            positions: Axial position of each slice in [-1, 1], [N]; only for 2D with `position`.

        Returns:
            Logits, [N]; positive means real.

        Raises:
            ValueError: If the image has another size than the network.
        """
        if tuple(image.shape[2:]) != self.shape:
            raise ValueError(f"this discriminator judges {self.shape}, got {tuple(image.shape[2:])}")
        x = channels_last(self.from_image(image, positions))
        for stage in self.stages:
            x = run_stage(stage, self.recompute, x)
        logits: Tensor = self.epilogue(x)
        return logits
