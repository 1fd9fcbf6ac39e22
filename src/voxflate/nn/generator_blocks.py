"""The blocks of a generator (Fig. 2): styled convolution, image, and the stage that contains them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from voxflate.nn.conv_modules import STYLED_CONVS
from voxflate.nn.functional import add_noise, bias_leaky_relu, per_channel, weighted_sums
from voxflate.nn.layers import EqualLinear
from voxflate.nn.resample import DOUBLE, SMOOTH_UP, Filter, resample


class StyledConv(nn.Module):
    """Modulated convolution, noise, bias, leaky ReLU.

    Args:
        in_channels: I.
        channels: C, the output's.
        w_dim: Length of the style code.
        kernel_size: One number per spatial axis; an axis with kernel 1 is doubled only by the low-pass.
        conv: Key of `STYLED_CONVS`.
        up: Double every axis.

    Source: Fig. 2; Eqs. 1-2.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        w_dim: int,
        kernel_size: Sequence[int],
        conv: str,
        *,
        up: bool,
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        self.conv = STYLED_CONVS[conv](in_channels, channels, kernel_size)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.strides = tuple(2 if k > 1 else 1 for k in kernel_size) if up else None
        self.filters = tuple(SMOOTH_UP if k > 1 else DOUBLE for k in kernel_size) if up else ()

    def low_pass(self, mixing: Tensor | None) -> Sequence[Filter]:
        """The filter after the up-convolution, per axis; a slice window's depth matrices precede the rest."""
        return self.filters if mixing is None else (mixing, *self.filters[1:])

    def forward(self, x: Tensor, w: Tensor, noise: Tensor, mixing: Tensor | None = None) -> Tensor:
        """Convolve and activate.

        Args:
            x: [N, I, *spatial].
            w: Style codes, [N, w_dim].
            noise: [N, 1, *spatial'], standard normal.
            mixing: Depth matrices of a slice window, [N, S', S], instead of the plain doubling.

        Returns:
            [N, C, *spatial'].
        """
        y: Tensor = self.conv(x, self.affine(w), self.strides)
        if self.strides is not None:
            y = resample(y, self.low_pass(mixing))
        y = add_noise(y, noise, self.noise_strength)
        return bias_leaky_relu(y, self.bias)


class ToImage(nn.Module):
    """1x1 modulated convolution to image channels, without demodulation ("toRGB" in the literature)."""

    def __init__(self, channels: int, image_channels: int, w_dim: int, spatial_dims: int) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(image_channels, channels, *(1,) * spatial_dims))
        self.bias = nn.Parameter(torch.zeros(image_channels))
        self.gain = channels**-0.5

    def mix(self, w: Tensor) -> Tensor:
        """Weight of every channel in every image channel, from style codes: [N, image_channels, C]."""
        mix: Tensor = (self.weight * self.gain).flatten(1) * self.affine(w)[:, None, :]
        return mix

    def add_bias(self, image: Tensor) -> Tensor:
        """The image with its bias, in the bias's precision: float32 or wider."""
        image = image.to(self.bias.dtype)
        return image + per_channel(self.bias, image)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[N, C, *spatial] and style codes [N, w_dim] -> [N, image_channels, *spatial]."""
        return self.add_bias(weighted_sums(x, self.mix(w)))


class SynthesisStage(nn.Module):
    """One resolution: two styled convolutions (the base has one) and the image added at this size."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        image_channels: int,
        w_dim: int,
        kernel_size: Sequence[int],
        conv: str,
        *,
        first: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.last = last
        self.conv0 = None if first else StyledConv(in_channels, channels, w_dim, kernel_size, conv, up=True)
        self.conv1 = StyledConv(
            in_channels if first else channels, channels, w_dim, kernel_size, conv, up=False
        )
        self.to_image = ToImage(channels, image_channels, w_dim, len(kernel_size))

    def forward(
        self,
        x: Tensor,
        image: Tensor | None,
        ws: Sequence[Tensor],
        noise: Sequence[Tensor],
        mixing: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Compute this stage from the features and image of the previous one.

        Args:
            x: [N, I, *spatial].
            image: [N, image_channels, *spatial], or None at the base.
            ws: One [N, w_dim] per layer: the convolutions', then the image's.
            noise: One per convolution.
            mixing: As in `StyledConv`.

        Returns:
            Features [N, C, *spatial'], None at the last stage, and image [N, image_channels, *spatial'].
        """
        if self.conv0 is not None:
            x = self.conv0(x, ws[0], noise[0], mixing)
        x = self.conv1(x, ws[-2], noise[-1])
        new: Tensor = self.to_image(x, ws[-1])
        if image is not None:
            new = new + doubled(image, mixing)
        return None if self.last else x, new


def doubled(image: Tensor, mixing: Tensor | None) -> Tensor:
    """Double the previous stage's image, [N, O, *spatial], in its own precision regardless of autocast."""
    with torch.autocast(image.device.type, enabled=False):
        return resample(image, skip_filters(image, mixing))


def skip_filters(image: Tensor, mixing: Tensor | None) -> list[Filter]:
    """The filter that doubles an image, per axis."""
    filters: list[Filter] = [DOUBLE] * (image.ndim - 2)
    return filters if mixing is None else [mixing, *filters[1:]]
