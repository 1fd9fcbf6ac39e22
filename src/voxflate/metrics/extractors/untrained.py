"""Frozen networks with seeded random weights, for tests without weight files."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from voxflate.metrics.extractors.base import SliceNetwork, channels_last
from voxflate.metrics.extractors.deepbet import LinkNetEncoder, VolumeNetwork


def random_network(device: str | torch.device = "cpu", side: int = 32) -> SliceNetwork:
    """A small frozen network with seeded random weights, 64 features.

    Args:
        device: Device of the network.
        side: Side of the square to which slices are resized, pixels.
    """
    generator = torch.Generator().manual_seed(0)
    convs = [nn.Conv2d(3, 32, 3, stride=2), nn.Conv2d(32, 64, 3, stride=2)]
    for conv in convs:
        nn.init.normal_(conv.weight, std=conv.weight[0].numel() ** -0.5, generator=generator)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    digest = hashlib.sha256(b"".join(conv.weight.detach().numpy().tobytes() for conv in convs)).hexdigest()
    network = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return SliceNetwork("random", channels_last(network), digest, side, device)


def random_volume_network(device: str | torch.device = "cpu") -> VolumeNetwork:
    """Deepbet's encoder with seeded random weights, 480 features.

    Args:
        device: Device of the network.
    """
    generator = torch.Generator().manual_seed(0)
    encoder = LinkNetEncoder()
    for weight in encoder.parameters():
        nn.init.normal_(weight, std=weight[0].numel() ** -0.5, generator=generator)
    digest = hashlib.sha256(b"".join(weight.detach().numpy().tobytes() for weight in encoder.parameters()))
    return VolumeNetwork("random3d", encoder, digest.hexdigest(), device)
