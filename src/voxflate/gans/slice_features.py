"""Frozen features of slices: a pretrained trunk, and fixed random mixing of its channels and scales.

A discriminator that sees all features of a pretrained network at once, randomly mixed, cannot pick out
the few that separate real from generated fastest (Sauer et al. 2021, "Projected GANs converge faster").
Nothing here is trained or stored: the same settings give the same numbers.

To add a trunk: write a function (device) -> `Trunk`, and add a line to `TRUNKS`.

Shape letters: n slices; S side in pixels; s side of a feature map; c channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxflate._system.errors import VoxflateError
from voxflate.metrics.extractors import efficientnet, mobilenet
from voxflate.metrics.extractors.base import IMAGENET_MEAN, IMAGENET_STD, load_trunk
from voxflate.metrics.extractors.efficientnet import EFFICIENTNET_WEIGHTS, EfficientNetLite0
from voxflate.metrics.extractors.mobilenet import MOBILENET_WEIGHTS, MobileNetV2

REDUCTIONS = (4, 8, 16)
"""Reduction of each feature map relative to the slice. A fourth scale, 32, would need 2.3 million more
weights for four positions per slice of 64 pixels (decision 0110)."""

WIDTH = 64
"""Channels of every mixed feature map."""


@dataclass(frozen=True)
class Trunk:
    """The first layers of a pretrained network.

    Attributes:
        segments: Each ends at one of `REDUCTIONS` and starts where the previous one ends.
        channels: Output channels of each segment.
        mean: Mean of the training pixels in [0, 1], per colour.
        std: Their standard deviation, per colour.
    """

    segments: Sequence[nn.Module]
    channels: Sequence[int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def efficientnet_lite0(device: torch.device) -> Trunk:
    """EfficientNet-Lite0 up to its eleventh block."""
    network = EfficientNetLite0().eval()
    load_trunk(network, EFFICIENTNET_WEIGHTS.find(), "_fc.")
    efficientnet.fold_batch_norms(network)
    segments = network.segments((3, 5, 11))
    return _frozen(segments, (24, 40, 112), efficientnet.MEAN, efficientnet.STD, device)


def mobilenetv2(device: torch.device) -> Trunk:
    """MobileNetV2 up to its fourteenth layer."""
    network = MobileNetV2().eval()
    load_trunk(network, MOBILENET_WEIGHTS.find(), "classifier.")
    mobilenet.fold_batch_norms(network)
    segments = [network.features[:4], network.features[4:7], network.features[7:14]]
    return _frozen(segments, (24, 32, 96), IMAGENET_MEAN, IMAGENET_STD, device)


def random_trunk(device: torch.device) -> Trunk:
    """A small network with seeded random weights, for tests without weight files."""
    generator = torch.Generator().manual_seed(0)
    segments, inputs = [], 3
    for outputs, stride in ((8, 4), (12, 2), (16, 2)):
        layer = nn.Conv2d(inputs, outputs, stride + 1, stride, stride // 2)
        nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5, generator=generator)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        segments.append(nn.Sequential(layer, nn.ReLU()))
        inputs = outputs
    return _frozen(segments, (8, 12, 16), IMAGENET_MEAN, IMAGENET_STD, device)


TRUNKS: dict[str, Callable[[torch.device], Trunk]] = {
    "efficientnet-lite0": efficientnet_lite0,
    "mobilenetv2": mobilenetv2,
    "random": random_trunk,
}


WEIGHTS = {
    "efficientnet-lite0": EFFICIENTNET_WEIGHTS.sha256,
    "mobilenetv2": MOBILENET_WEIGHTS.sha256,
}
"""SHA-256 of each trunk's weight file, for a run's record."""


def values_per_slice(side: int) -> int:
    """Number of values in all feature maps of a slice of `side` pixels."""
    return WIDTH * sum((side // reduction) ** 2 for reduction in REDUCTIONS)


class SliceFeatures:
    """Features of grey or colour slices; gradients flow to the slices, not to the weights.

    Args:
        name: A key of `TRUNKS`.
        side: Slices are resized to squares of this many pixels, a multiple of 16. A prepared volume covers
            about a cube of space, so the square undoes the difference in spacing.
        device: Device of the network.

    Raises:
        VoxflateError: If the trunk's weights are not installed.
    """

    def __init__(self, name: str, side: int, device: torch.device) -> None:
        try:
            self.trunk = TRUNKS[name](device)
        except VoxflateError as error:
            raise VoxflateError(
                f"{error}; or train without slices: --set slice_discriminator.weight=0"
            ) from error
        self.side = side
        generator = torch.Generator().manual_seed(0)
        self._mix = [_random_kernel(WIDTH, c, 1, generator).to(device) for c in self.trunk.channels]
        self._join = [_random_kernel(WIDTH, WIDTH, 3, generator).to(device) for _ in self.trunk.channels]
        self._mean = torch.tensor(self.trunk.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.trunk.std, device=device).view(1, 3, 1, 1)
        self._equalise(device)

    def __call__(self, slices: Tensor) -> list[Tensor]:
        """Features of resized slices.

        Args:
            slices: [n, 1 or 3, S, S] in [-1, 1].

        Returns:
            One map per scale, finest first, [n, WIDTH, s, s].
        """
        x = ((slices + 1) / 2 - self._mean) / self._std  # [n, 3, S, S]: grey is repeated
        x = x.contiguous(memory_format=torch.channels_last)
        maps = []
        for segment, mix in zip(self.trunk.segments, self._mix, strict=True):
            x = segment(x)
            maps.append(F.conv2d(x, mix))
        for i in reversed(range(len(maps) - 1)):
            maps[i] = maps[i] + F.interpolate(maps[i + 1], scale_factor=2.0, mode="bilinear")
        return [F.conv2d(x, kernel, padding=1) for x, kernel in zip(maps, self._join, strict=True)]

    def resize(self, slices: Tensor) -> Tensor:
        """[n, c, H, W] -> [n, c, S, S]."""
        shrinks = max(slices.shape[2:]) > self.side
        return F.interpolate(slices, (self.side, self.side), mode="bilinear", antialias=shrinks)

    @torch.no_grad()
    def _equalise(self, device: torch.device) -> None:
        """Scale every map to about unit standard deviation, measured on smooth random shapes in air.

        Scales are rounded to two digits, so that all processors get the same ones.
        """
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(16, 1, 8, 8, generator=generator)
        shapes = F.interpolate(coarse, (self.side, self.side), mode="bicubic").clamp(-1, 1).to(device)
        for kernel, map_ in zip(self._join, self(shapes), strict=True):
            kernel /= float(f"{map_.std().item():.1e}")


class _InFloat32(nn.Module):
    """A layer outside autocast."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """As the layer; the output has the type of the input."""
        with torch.autocast(x.device.type, enabled=False):
            return self.layer(x.float()).to(x.dtype)  # type: ignore[no-any-return]


def _keep_float32(network: nn.Module) -> None:
    """Take strided depthwise convolutions out of autocast, in place.

    On a CPU their bfloat16 gradients take tens of times as long as those in float32 (decision 0185).
    """
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.stride != (1, 1):
                setattr(parent, name, _InFloat32(layer))


def _frozen(
    segments: Sequence[nn.Module],
    channels: Sequence[int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
) -> Trunk:
    ready = [
        segment.to(device=device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
        for segment in segments
    ]
    if device.type == "cpu":
        for segment in ready:
            _keep_float32(segment)
    return Trunk(ready, channels, mean, std)


def _random_kernel(outputs: int, inputs: int, side: int, generator: torch.Generator) -> Tensor:
    kernel = torch.randn(outputs, inputs, side, side, generator=generator)
    kernel *= float(inputs * side * side) ** -0.5
    return kernel.contiguous(memory_format=torch.channels_last)
