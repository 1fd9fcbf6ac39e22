"""deepbet: features of whole volumes from the encoder of its brain extraction network.

Distances of single slices miss anatomical errors across slices. This network was trained on brains; other
organs need another one.

A 3D LinkNet (Chaurasia and Culurciello 2017) trained to find brains in T1 images: its encoder is a small 3D
residual network. Features are the means and the deviations of its four stages (480). Module names follow
the published checkpoint, so that its weights load by name.

Shape letters: N volumes, C channels, D, H, W voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from voxflate.metrics.extractors.weights import PackagedFile, load_script

DEEPBET_WEIGHTS = PackagedFile(
    "deepbet",
    "1.0.2",
    "data/models/model.pt",
    "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
)
SIDE = 64
"""Side of the cube to which volumes are resized, voxels; see docs/measurements/metrics.md."""

_CHUNK = 8  # volumes at a time
_LOW, _HIGH = 0.005, 0.995  # quantiles that bound the intensities, as the network was trained
_MEAN, _STD = 0.449, 0.226

WIDTHS = (16, 32, 64, 128)
N_FEATURES = 2 * sum(WIDTHS)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A "same" convolution without bias, and normalisation of each volume's own channel."""
    conv = nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.InstanceNorm3d(outputs)]


class _Block(nn.Module):
    """Residual block: two convolutions; the skip is convolved if the size changes."""

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


class VolumeNetwork:
    """A frozen network on cubes, with the intensity range that deepbet's networks expect.

    Args:
        name: Name in metrics.
        network: Maps [n, 1, side, side, side], axes R, A, S, to [n, f]; used in evaluation mode.
        weights_sha256: Hash of its weights.
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
        # A constant volume has no range: all voxels become the network's mean.
        flat = ((flat - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        deviation, mean = torch.std_mean(flat, dim=1, keepdim=True)
        flat = (flat - mean) / deviation.clamp(min=1e-6) * _STD + _MEAN
        features: Tensor = self._network(flat.view_as(x))
        return features.float().cpu()


def resized(volumes: Tensor, side: int) -> Tensor:
    """Resize volumes [n, 1, A, B, C] to cubes: trilinear, with a low-pass along axes that shrink.

    PyTorch's low-pass resizing supports only two axes, so two axes are resized first, then the third.
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
        VoxflateError: If the package with the weights is not installed, or has another file.
    """
    state = load_script(DEEPBET_WEIGHTS.find()).state_dict()
    encoder = LinkNetEncoder()
    encoder.load_state_dict({name: state[name] for name in encoder.state_dict()})
    return VolumeNetwork("deepbet", encoder, DEEPBET_WEIGHTS.sha256, device)
