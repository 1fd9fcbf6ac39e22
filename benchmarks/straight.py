"""The straight lift of StyleGAN2 to volumes: the cost of a training step without reformulations.

A reference for `benchmarks.step`, not used by the package: a separate kernel for every sample in a grouped
convolution, the [1, 3, 3, 1] filter as one dense depthwise convolution with 4 taps along every axis, the
contiguous layout, float32. `StraightGenerator` and `StraightDiscriminator` use the parameters of the
package's own networks, so both compute the same function (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate.nn import Discriminator, Generator
from voxflate.nn.conv_modules import ModulatedConv, SplitConv
from voxflate.nn.discriminator_blocks import DiscriminatorStage
from voxflate.nn.functional import LEAKY_GAIN, LEAKY_SLOPE, minibatch_std
from voxflate.nn.generator_blocks import StyledConv, ToImage
from voxflate.nn.layers import EqualConv

CONV = {2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {2: F.conv_transpose2d, 3: F.conv_transpose3d}


def low_pass(x: Tensor, padding: Sequence[int], gain: float = 1.0, stride: int = 1) -> Tensor:
    """Filter every channel with the dense outer product of [1, 3, 3, 1]; padding is (before, after)."""
    dims = x.ndim - 2
    kernel = _taps(dims, gain, x.dtype, x.device).expand(x.shape[1], 1, *(4,) * dims)
    return CONV[dims](F.pad(x, tuple(padding) * dims), kernel, stride=stride, groups=x.shape[1])


@cache
def _taps(dims: int, gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The filter's kernel, made once: a GPU waits for numbers that come from the host."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=dtype, device=device) / 8
    kernel = torch.full((), gain**dims, dtype=dtype, device=device)
    for _ in range(dims):
        kernel = kernel[..., None] * taps
    return kernel


def double(image: Tensor) -> Tensor:
    """Insert zeros between the voxels and filter."""
    dims = image.ndim - 2
    wide = image.new_zeros(*image.shape[:2], *(2 * n for n in image.shape[2:]))
    wide[(..., *(slice(None, None, 2),) * dims)] = image
    return low_pass(wide, (2, 1), gain=2.0)


def own_kernels(conv: ModulatedConv, x: Tensor, style: Tensor, *, up: bool) -> Tensor:
    """Eqs. 1 and 2 as written: one kernel per sample, the batch folded into the groups."""
    n, spatial = len(x), x.shape[2:]
    dims = len(spatial)
    gain = conv.weight[0].numel() ** -0.5
    kernels = conv.weight[None] * gain * style.view(n, 1, -1, *(1,) * dims)  # [N, O, I, k..]
    kernels = kernels * (kernels.square().flatten(2).sum(2) + 1e-8 * gain**2).rsqrt().view(
        n, -1, 1, *(1,) * dims
    )
    folded = x.reshape(1, -1, *spatial)
    if up:
        turned = kernels.transpose(1, 2).flatten(0, 1)  # [N I, O, k..]
        y = low_pass(CONV_TRANSPOSE[dims](folded, turned, stride=2, groups=n), (1, 1), gain=2.0)
    else:
        y = CONV[dims](folded, kernels.flatten(0, 1), padding=1, groups=n)
    return y.view(n, -1, *y.shape[2:])


def shuffle(x: Tensor) -> Tensor:
    """Channel shuffle of two halves."""
    return x.view(len(x), 2, -1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def activate(x: Tensor, bias: Tensor, gain: float = LEAKY_GAIN) -> Tensor:
    """Bias, leaky ReLU, gain."""
    return F.leaky_relu(x + bias.view(-1, *(1,) * (x.ndim - 2)), LEAKY_SLOPE) * gain


class StraightGenerator(nn.Module):
    """Uses a `Generator`'s parameters; without planar rendering and truncation."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.inner = generator
        self.synthesis = generator.synthesis
        self.z_dim = generator.z_dim

    def forward(
        self, z: Tensor, *, noise: object = None, positions: Tensor | None = None, labels: None = None
    ) -> Tensor:
        """Latent codes [N, z_dim] -> [N, 1, *shape]; positions and labels are not supported."""
        w = self.inner.mapping(z, 1.0)
        x = self.synthesis.const.expand(len(z), *self.synthesis.const.shape).contiguous()
        image: Tensor | None = None
        # Anything but a sequence is a training's source of noise; here every layer draws its own.
        given = iter(noise if isinstance(noise, Sequence) else ())
        for stage in self.synthesis.stages:
            for conv in (stage.conv0, stage.conv1):
                if conv is not None:
                    x = self._styled(conv, x, w, next(given, None))
            new = self._to_image(stage.to_image, x, w)
            image = new if image is None else new + double(image)
        assert image is not None
        return image

    @staticmethod
    def _styled(layer: StyledConv, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        style, up = layer.affine(w), layer.strides is not None
        if isinstance(layer.conv, ModulatedConv):
            y = own_kernels(layer.conv, x, style, up=up)
        else:
            halves = zip(layer.conv.branches, x.chunk(2, 1), style.chunk(2, 1), strict=True)
            y = torch.cat(
                [own_kernels(branch, half, s, up=up) for branch, half, s in halves],
                dim=1,
            )
            y = shuffle(y) if layer.conv.shuffle else y
        if noise is None:
            noise = torch.randn(len(y), 1, *y.shape[2:], device=y.device)
        return activate(y + layer.noise_strength * noise, layer.bias)

    @staticmethod
    def _to_image(layer: ToImage, x: Tensor, w: Tensor) -> Tensor:
        n, dims = len(x), x.ndim - 2
        kernels = layer.weight[None] * layer.gain * layer.affine(w).view(n, 1, -1, *(1,) * dims)
        y = CONV[dims](x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), groups=n)
        return y.view(n, -1, *x.shape[2:]) + layer.bias.view(-1, *(1,) * dims)


class StraightDiscriminator(nn.Module):
    """Uses a `Discriminator`'s parameters; architectures baseline, split and split-shuffle."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.inner = discriminator

    def forward(self, image: Tensor, positions: Tensor | None = None, labels: None = None) -> Tensor:
        """[N, 1, *shape] -> logits [N]; positions and labels are not supported."""
        first, epilogue = self.inner.from_image, self.inner.epilogue
        dims = image.ndim - 2
        x = activate(CONV[dims](image, first.weight * first.gain), first.bias)
        for stage in self.inner.stages:
            x = self._stage(stage, x)
        x = activate(self._conv(epilogue.conv, minibatch_std(x, epilogue.group).contiguous()), epilogue.bias)
        logits: Tensor = epilogue.out(epilogue.fc(x.flatten(1)))
        return logits.squeeze(1)

    def _stage(self, stage: DiscriminatorStage, x: Tensor) -> Tensor:
        skip = self._conv(stage.skip, x, down=True)
        x = activate(self._conv(stage.conv0, x), stage.bias0)
        x = activate(self._conv(stage.conv1, x, down=True), stage.bias1)
        return (x + skip) * 0.5**0.5

    def _conv(self, conv: Any, x: Tensor, *, down: bool = False) -> Tensor:
        if isinstance(conv, SplitConv):
            if conv.even is not None:
                x = self._conv(conv.even, x) + conv.even_bias.view(-1, *(1,) * (x.ndim - 2))
            halves = zip(conv.branches, x.chunk(2, 1), strict=True)
            y = torch.cat([self._conv(branch, half, down=down) for branch, half in halves], dim=1)
            return shuffle(y) if conv.shuffle else y
        assert isinstance(conv, EqualConv)
        kernel = conv.weight * conv.gain
        dims, width = kernel.ndim - 2, kernel.shape[-1]
        if not down:
            return CONV[dims](x, kernel, padding=width // 2, groups=conv.groups)
        padding = (2, 2) if width == 3 else (1, 1)
        return CONV[dims](low_pass(x, padding), kernel, stride=2, groups=conv.groups)


__all__ = ["StraightDiscriminator", "StraightGenerator"]
