"""The plain convolutional networks of the comparison models: strided down, repeated voxels up.

Four halvings of every axis lead from the volume to the base, and four doublings back, so every side is 16
times the base's. Widths follow from the largest, C: C/8, C/4, C/2, C. The paper's networks have C = 128,
codes of 100 numbers and hidden layers of 4 C = 512, the only values that give its parameter counts (decision
0050).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from voxflate._system.errors import VoxflateError
from voxflate.nn.functional import LEAKY_SLOPE

HALVINGS = 4

Norm = Callable[[int], nn.Module]


def layer_norm(channels: int) -> nn.Module:
    """Normalise every sample over channels and voxels, with a scale and a shift per channel."""
    return nn.GroupNorm(1, channels)


NORMS: dict[str, tuple[Norm, Norm]] = {
    "batch": (nn.BatchNorm3d, nn.BatchNorm1d),
    "layer": (layer_norm, layer_norm),
}
"""Normalisations of discriminators by name, for volumes and for codes; all have the same parameter count."""


def base_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The volume's size after four halvings.

    >>> base_of((32, 64, 64)), base_of((16, 32, 32))
    ((2, 4, 4), (1, 2, 2))

    Raises:
        VoxflateError: If a side is not a multiple of 16.
    """
    sides = "x".join(map(str, shape))
    if any(side % 2**HALVINGS for side in shape):
        raise VoxflateError(f"the comparison models need sides that are multiples of 16, this one is {sides}")
    return tuple(side // 2**HALVINGS for side in shape)


def trunk(channels: int, norm: Norm = nn.BatchNorm3d, image_channels: int = 1) -> nn.Sequential:
    """Four strided convolutions, [N, image_channels, *shape] -> [N, C, *base].

    Args:
        channels: C, the output channels of the last convolution.
        norm: Makes a normalisation from the number of channels; follows all convolutions but the first.
        image_channels: Channels of the volumes.
    """
    layers: list[nn.Module] = []
    widths = [image_channels, *(channels // 2**power for power in range(HALVINGS - 1, -1, -1))]
    for index in range(HALVINGS):
        layers.append(nn.Conv3d(widths[index], widths[index + 1], 4, stride=2, padding=1))
        if index:
            layers.append(norm(widths[index + 1]))
        layers.append(nn.LeakyReLU(LEAKY_SLOPE))
    return nn.Sequential(*layers)


def critic(shape: Sequence[int], channels: int, norm: str, image_channels: int = 1) -> nn.Sequential:
    """Discriminator of volumes, [N, image_channels, *shape] -> logits [N]; `norm` is a key of `NORMS`."""
    head = nn.Conv3d(channels, 1, base_of(shape))  # type: ignore[arg-type]
    return nn.Sequential(trunk(channels, NORMS[norm][0], image_channels), head, nn.Flatten(0))


def encoder(shape: Sequence[int], channels: int, z_dim: int, image_channels: int = 1) -> nn.Sequential:
    """Encoder of alpha-GAN, [N, image_channels, *shape] -> codes [N, z_dim]."""
    head = nn.Conv3d(channels, z_dim, base_of(shape))  # type: ignore[arg-type]
    return nn.Sequential(trunk(channels, image_channels=image_channels), head, nn.Flatten())


class VariationalEncoder(nn.Module):
    """Encoder of VAE-GAN, [N, image_channels, *shape] -> mean and log-variance of the code, each [N, z_dim].

    Args:
        shape: Shape of the volumes.
        channels: C of the trunk.
        z_dim: Length of the code.
        image_channels: Channels of the volumes.
    """

    def __init__(self, shape: Sequence[int], channels: int, z_dim: int, image_channels: int = 1) -> None:
        super().__init__()
        hidden = 4 * channels

        def head() -> nn.Sequential:
            numbers = channels * prod(base_of(shape))
            layers = nn.Linear(numbers, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, z_dim)
            return nn.Sequential(*layers)

        self.trunk = trunk(channels, image_channels=image_channels)
        self.mean = head()
        self.log_variance = head()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode [N, image_channels, *shape]."""
        features = self.trunk(images).flatten(1)
        return self.mean(features), self.log_variance(features)


def code_discriminator(z_dim: int, channels: int, norm: str) -> nn.Sequential:
    """Discriminator of codes, [N, z_dim] -> logits [N]; `norm` is a key of `NORMS`."""
    hidden = 4 * channels
    layers: list[nn.Module] = []
    for inputs in (z_dim, hidden):
        layers += [nn.Linear(inputs, hidden), NORMS[norm][1](hidden), nn.LeakyReLU(LEAKY_SLOPE)]
    return nn.Sequential(*layers, nn.Linear(hidden, 1), nn.Flatten(0))


class UpsamplingGenerator(nn.Module):
    """Codes to volumes: a first layer to the base, then four times upsampling and a convolution.

    Args:
        shape: Shape of the volumes.
        channels: C at the base.
        z_dim: Length of the code.
        linear: First layer: linear with bias (WGAN-GP, VAE-GAN), or a transposed convolution without bias
            (alpha-GAN); known from the paper's counts.
        image_channels: Channels of the volumes.
    """

    def __init__(
        self, shape: Sequence[int], channels: int, z_dim: int, image_channels: int = 1, *, linear: bool
    ) -> None:
        super().__init__()
        base = base_of(shape)
        self.z_dim = z_dim
        self.shape = tuple(shape)
        self.first: nn.Module
        if linear:
            unflatten = nn.Unflatten(1, (channels, *base))
            self.first = nn.Sequential(nn.Linear(z_dim, channels * prod(base)), unflatten)
        else:
            grow = nn.ConvTranspose3d(z_dim, channels, base, bias=False)  # type: ignore[arg-type]
            self.first = nn.Sequential(nn.Unflatten(1, (z_dim, 1, 1, 1)), grow)
        layers: list[nn.Module] = []
        width = channels
        for index in range(HALVINGS):
            after = image_channels if index == HALVINGS - 1 else width // 2
            layers += [nn.BatchNorm3d(width), nn.ReLU(), nn.Upsample(scale_factor=2)]
            layers.append(nn.Conv3d(width, after, 3, padding=1, bias=False))
            width = after
        self.tail = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor, *, truncation_psi: float = 1.0) -> Tensor:
        """Generate [N, image_channels, *shape] in (-1, 1).

        Args:
            z: Codes, [N, z_dim].
            truncation_psi: Factor of the codes: 1 for full variety, less pulls them towards their mean, 0.
        """
        volumes: Tensor = self.tail(self.first(z * truncation_psi))
        return volumes


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Keep passes in training mode from changing the running statistics of the batch normalisation.

    Samples are made from random codes with the running statistics; passes with other codes must not change
    them (decision 0052).
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def random_volumes(generator: nn.Module, count: int) -> Tensor:
    """An `UpsamplingGenerator`'s images from `count` random codes, [count, image_channels, *shape]."""
    device = next(generator.parameters()).device
    volumes: Tensor = generator(normal_codes(count, generator.z_dim, device))  # type: ignore[arg-type]
    return volumes


def normal_codes(count: int, z_dim: int, device: torch.device) -> Tensor:
    """Random codes from N(0, 1), [count, z_dim], from the global random state."""
    return torch.randn(count, z_dim, device=device)
