"""Networks for testing whether generated volumes help: small enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from voxflate._system.extras import import_optional

WIDTH = 16
"""Channels of the first stage; every stage has twice as many as the previous one."""

_COARSEST = 8  # stages are added until the longest side has no more voxels
_GROUPS, _SLOPE = 4, 0.1


def check_monai() -> None:
    """Refuse to continue without MONAI.

    Raises:
        VoxflateError: Tells how to install it.
    """
    otherwise = "or measure only the labels with --task NAME"
    import_optional("monai", "utility", "training segmenters needs monai", otherwise)


def strides_of(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Strides between the stages, one per axis: 2, or 1 along a side that is short or odd.

    >>> strides_of((16, 24, 16)), strides_of((4, 32, 32))
    ([(2, 2, 2), (2, 2, 2)], [(2, 2, 2), (1, 2, 2)])
    """
    sides, strides = tuple(shape), list[tuple[int, ...]]()
    while not strides or max(sides) > _COARSEST:
        steps = tuple(2 if side > 2 and side % 2 == 0 else 1 for side in sides)
        if strides and max(steps) == 1:
            break
        strides.append(steps)
        sides = tuple(side // step for side, step in zip(sides, steps, strict=True))
    return strides


def segmenter(shape: Sequence[int], images: int, classes: int) -> nn.Module:
    """MONAI's U-Net with residual units (Kerfoot et al. 2018): [n, M, D, H, W] -> logits [n, K + 1, D, H, W].

    Args:
        shape: (D, H, W) of the volumes, voxels.
        images: Image channels, M.
        classes: Classes of the mask, K, without the background.

    Raises:
        VoxflateError: If MONAI is missing.
    """
    check_monai()
    from monai.networks.nets import UNet  # slow to load, and optional

    strides = strides_of(shape)
    widths = [WIDTH * 2**stage for stage in range(len(strides) + 1)]
    made: nn.Module = UNet(3, images, classes + 1, widths, strides, num_res_units=1)
    return made


class Reader(nn.Module):
    """Predicts a class or number from a scan: convolutions, their mean over the volume, a linear layer.

    Args:
        shape: (D, H, W) of the volumes, voxels.
        images: Image channels, M.
        outputs: Classes, or 1 for a number.
    """

    def __init__(self, shape: Sequence[int], images: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, width = images, WIDTH
        for stride in strides_of(shape):
            layers += [
                _convolution(before, width, stride),
                nn.GroupNorm(_GROUPS, width),
                nn.LeakyReLU(_SLOPE),
            ]
            before, width = width, 2 * width
        layers += [_convolution(before, before, (1, 1, 1)), nn.LeakyReLU(_SLOPE)]
        self.features = nn.Sequential(*layers)
        # Means of maps differ little between subjects, so they are normalised over the batch.
        self.scale = nn.BatchNorm1d(before)
        self.head = nn.Linear(before, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, M, D, H, W] -> [n, outputs]."""
        found: Tensor = self.head(self.scale(self.features(x).mean(dim=(2, 3, 4))))
        return found


def _convolution(inputs: int, outputs: int, stride: tuple[int, ...]) -> nn.Module:
    return nn.Conv3d(inputs, outputs, 3, stride, 1)  # type: ignore[arg-type]


def segmentation_loss() -> Any:
    """Sum of Dice loss and cross-entropy; the background counts only in the cross-entropy."""
    from monai.losses import DiceCELoss

    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True)


def in_batches(network: nn.Module, volumes: Tensor, batch: int) -> Tensor:
    """Outputs for many volumes, [n, ...] on the CPU."""
    device = next(network.parameters()).device
    with torch.no_grad():
        return torch.cat([network(part.to(device)).float().cpu() for part in volumes.split(batch)])
