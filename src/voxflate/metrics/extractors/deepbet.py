"""The encoder of deepbet's brain extraction network, for features of whole volumes.

A 3D LinkNet (Chaurasia and Culurciello 2017) trained to find brains in T1 images: its encoder is a small 3D
residual network. Features are the means and the deviations of its four stages (480). Module names follow
the published checkpoint, so that its weights load by name.

Shape letters: N volumes, C channels, D, H, W voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)
N_FEATURES = 2 * sum(WIDTHS)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A "same" convolution without bias, and normalisation of each volume's own channel."""
    conv = nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.InstanceNorm3d(outputs)]


class _Block(nn.Module):
    """Two convolutions around which the input is added, itself convolved where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            *_conv(inputs, outputs, 3, stride), nn.ReLU(), *_conv(outputs, outputs, 3)
        )
        if stride > 1:
            self.downsample = nn.Sequential(*_conv(inputs, outputs, 1, stride))
        self._changes_size = stride > 1

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, D, H, W] -> [N, outputs, D / stride, H / stride, W / stride]."""
        around = self.downsample(x) if self._changes_size else x
        return torch.relu(self.double_conv(x) + around)


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.block1 = _Block(inputs, outputs, stride)
        self.block2 = _Block(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, D, H, W] -> [N, outputs, D / stride, H / stride, W / stride]."""
        y: Tensor = self.block2(self.block1(x))
        return y


class LinkNetEncoder(nn.Module):
    """The encoder: five halvings, four stages."""

    def __init__(self) -> None:
        super().__init__()
        self.init = nn.Sequential(*_conv(1, WIDTHS[0], 7, 2), nn.ReLU(), nn.MaxPool3d(3, 2, 1))
        for index, width in enumerate(WIDTHS):
            stage = _Stage(WIDTHS[max(0, index - 1)], width, 2 if index else 1)
            self.add_module(f"down{index}", stage)

    def stages(self, x: Tensor) -> list[Tensor]:
        """[N, 1, D, H, W] -> the maps of the four stages, finest first."""
        x = self.init(x)
        maps = []
        for index in range(len(WIDTHS)):
            x = self.get_submodule(f"down{index}")(x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """[N, 1, D, H, W], every side 64 or more -> [N, 480], means then deviations, stage by stage."""
        moments = []
        for stage in self.stages(x):
            deviation, mean = torch.std_mean(stage.flatten(2), dim=2, correction=0)
            moments += [mean, deviation]
        return torch.cat(moments, dim=1)
