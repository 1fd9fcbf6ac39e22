"""Features of whole volumes, for a Frechet distance that sees all three axes at once.

The 2D distances see single slices and miss anatomy that is wrong across slices. `deepbet` is for brains;
other organs need another network. To add one: write a class that meets `VolumeExtractor` and a
function of the device that builds it, and add that to `VOLUME_EXTRACTORS`.

Shape letters: n volumes; D, H, W voxels (S, A, R); f features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxflate.metrics.extractors.deepbet import LinkNetEncoder
from voxflate.metrics.extractors.weights import PackagedFile, load_script

DEEPBET_WEIGHTS = PackagedFile(
    "deepbet",
    "1.0.2",
    "data/models/model.pt",
    "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
)
SIDE = 64
"""Volumes are resized to a cube of this side, voxels; docs/evaluation.md has the measurements."""

_CHUNK = 8
_LOW, _HIGH = 0.005, 0.995  # quantiles that bound the intensities, as the network was trained
_MEAN, _STD = 0.449, 0.226


class VolumeExtractor(Protocol):
    """Anything that turns volumes into features; attributes as of a `FeatureExtractor`."""

    @property
    def name(self) -> str:
        """Name in metrics, lower case, no spaces."""

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights, 64 hexadecimal digits."""

    @property
    def side(self) -> int:
        """Side of the cube that volumes are resized to, voxels."""

    def __call__(self, volumes: Tensor, /) -> Tensor:
        """Features of volumes: [n, 1, D, H, W] in [-1, 1] -> float32 [n, f] on the CPU."""


class VolumeNetwork:
    """A frozen network on cubes, with the intensities that deepbet's networks expect.

    Args:
        name: Name in metrics.
        network: Maps [n, 1, side, side, side], axes R, A, S, to [n, f]; used in evaluation mode.
        weights_sha256: SHA-256 of its weights.
        device: Where the network runs.
    """

    side = SIDE

    def __init__(self, name: str, network: nn.Module, weights_sha256: str, device: str | torch.device):
        self.name = name
        self.weights_sha256 = weights_sha256
        self._device = torch.device(device)
        self._network = network.eval().requires_grad_(False).to(self._device)

    @torch.inference_mode()
    def __call__(self, volumes: Tensor) -> Tensor:
        """Features of volumes: [n, 1, D, H, W] in [-1, 1] -> float32 [n, f] on the CPU.

        Raises:
            ValueError: If `volumes` is not [n, 1, D, H, W] with n >= 1.
        """
        if volumes.ndim != 5 or volumes.shape[1] != 1 or volumes.shape[0] == 0:
            raise ValueError(f"volumes must be [n, 1, D, H, W] with n >= 1, got {tuple(volumes.shape)}")
        with torch.autocast(self._device.type, enabled=False):
            return torch.cat([self._features(chunk) for chunk in torch.split(volumes, _CHUNK)])

    def _features(self, volumes: Tensor) -> Tensor:
        x = volumes.to(self._device, torch.float32).permute(0, 1, 4, 3, 2)
        x = resized(x, self.side)
        flat = x.flatten(1)
        low, high = flat.quantile(torch.tensor([_LOW, _HIGH], device=flat.device), dim=1, keepdim=True)
        # A constant volume has no range: everything becomes the network's mean.
        flat = ((flat - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        deviation, mean = torch.std_mean(flat, dim=1, keepdim=True)
        flat = (flat - mean) / deviation.clamp(min=1e-6) * _STD + _MEAN
        features: Tensor = self._network(flat.view_as(x))
        return features.float().cpu()


def resized(volumes: Tensor, side: int) -> Tensor:
    """Resize volumes [n, 1, A, B, C] to cubes: trilinear, with a low-pass along axes that shrink.

    PyTorch's low-pass resizing has two axes only, so two axes come first and then the third.
    """
    n, _, a, b, c = volumes.shape
    x = volumes.reshape(n * a, 1, b, c)
    x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    x = x.reshape(n, 1, a, side * side)
    x = functional.interpolate(x, (side, side * side), mode="bilinear", antialias=True)
    return x.view(n, 1, side, side, side)


def deepbet(device: str | torch.device = "cpu") -> VolumeNetwork:
    """The encoder of deepbet's brain extraction (Fisch et al. 2023), 480 features, for T1 brains.

    Raises:
        VoxflateError: If the package with the weights is not installed, or its file has another SHA-256.
    """
    state = load_script(DEEPBET_WEIGHTS.find()).state_dict()
    encoder = LinkNetEncoder()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return VolumeNetwork("deepbet", encoder, DEEPBET_WEIGHTS.sha256, device)


def random_volume_network(device: str | torch.device = "cpu") -> VolumeNetwork:
    """The same encoder with seeded random weights: for tests, needs no files."""
    generator = torch.Generator().manual_seed(0)
    encoder = LinkNetEncoder()
    for weight in encoder.parameters():
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    digest = hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in encoder.parameters()))
    return VolumeNetwork("random3d", encoder, digest.hexdigest(), device)


VOLUME_EXTRACTORS: dict[str, Callable[[str | torch.device], VolumeExtractor]] = {
    "deepbet": deepbet,
    "random3d": random_volume_network,
}
