"""The protocols of feature extractors, and the frozen slice network that most of them are.

A distance carries its extractor's name ("frechet-mobilenetv2-ax") and the hash of its weights, because
metrics of two extractors cannot be compared. `table.py` has the list and explains how to add one.

Shape letters: n slices or volumes; D, H, W voxels (S, A, R); f features.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

# Statistics of ImageNet's training images in [0, 1], red, green, blue: what most weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Side in pixels of the square that slices are resized to; docs/measurements/metrics.md has the measurements.
SIDE = 96
# Number of slices per pass through a network, which bounds memory for any number of slices.
_CHUNK = 32


class Extractor(Protocol):
    """What slice and volume extractors have in common.

    `name` is part of every metric's name. `weights_sha256` and `side` tell cached features of two extractors
    apart.
    """

    @property
    def name(self) -> str:
        """Name in metrics: lower case, no spaces."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, 64 hexadecimal digits."""

    @property
    def side(self) -> int:
        """Side of the square or cube to which slices or volumes are resized, pixels or voxels."""


class FeatureExtractor(Extractor, Protocol):
    """Anything that turns slices into features."""

    def __call__(self, slices: Tensor, /) -> Tensor:
        """Features of slices: [n, 1, H, W] in [-1, 1] -> float32 [n, f] on the CPU."""


class VolumeExtractor(Extractor, Protocol):
    """Anything that turns volumes into features."""

    def __call__(self, volumes: Tensor, /) -> Tensor:
        """Features of volumes: [n, 1, D, H, W] in [-1, 1] -> float32 [n, f] on the CPU."""


class SliceNetwork:
    """A frozen network on grey slices, resized, repeated to three channels and normalised.

    Args:
        name: Name in metrics.
        network: Maps [n, 3, side, side] to [n, f]; used in evaluation mode, float32.
        weights_sha256: Hash of its weights.
        side: Side of the square to which slices are resized, pixels. A prepared volume covers about a cube
            of space for any shape in voxels: the square undoes the difference in spacing.
        device: Where the network runs.
        mean: Subtracted from values in [0, 1], one per channel.
        std: Divisor after that, one per channel.
    """

    def __init__(
        self,
        name: str,
        network: Callable[[Tensor], Tensor],
        weights_sha256: str,
        side: int,
        device: str | torch.device,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.side = side
        self._device = torch.device(device)
        if isinstance(network, nn.Module):
            network = network.eval().to(self._device)
            for parameter in network.parameters():  # TorchScript has no requires_grad_ of its own
                parameter.requires_grad_(False)
        self._network = network
        self._mean = torch.tensor(mean, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> Tensor:
        """Features of slices: [n, 1, H, W] in [-1, 1] -> float32 [n, f] on the CPU.

        Raises:
            ValueError: If `slices` is not [n, 1, H, W] with n >= 1.
        """
        if slices.ndim != 4 or slices.shape[1] != 1 or slices.shape[0] == 0:
            raise ValueError(f"slices must be [n, 1, H, W] with n >= 1, got shape {tuple(slices.shape)}")
        # Distances must not depend on whether the caller uses bfloat16.
        with torch.autocast(self._device.type, enabled=False):
            return torch.cat([self._chunk_features(chunk) for chunk in torch.split(slices, _CHUNK)])

    def _chunk_features(self, slices: Tensor) -> Tensor:
        x = slices.to(self._device, torch.float32)
        x = functional.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        x = ((x + 1) / 2 - self._mean) / self._std  # [n, 3, side, side]: the one grey channel is repeated
        return self._network(x.contiguous(memory_format=torch.channels_last)).float().cpu()


def load_trunk(network: nn.Module, weights: Path, without: str) -> nn.Module:
    """Load a classifier's weights into its trunk.

    Args:
        network: The network without the classifier.
        weights: File of a state dict.
        without: Prefix of the names to leave out: the classifier's.
    """
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith(without)})
    return network


def channels_last(network: nn.Module) -> nn.Module:
    """Store the weights in the memory format in which convolutions of slices are fastest."""
    changed: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return changed
