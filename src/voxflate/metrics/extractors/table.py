"""The feature extractors by name.

To add one: write a class that implements `FeatureExtractor` (or `VolumeExtractor`) in a new module, and a
function of the device that builds it, and add that to a table here. A user's own network needs no entry:
`extractor` accepts the path of its file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from voxflate._system.errors import VoxflateError
from voxflate.metrics.extractors.base import FeatureExtractor, VolumeExtractor
from voxflate.metrics.extractors.deepbet import deepbet
from voxflate.metrics.extractors.efficientnet import efficientnet_lite0
from voxflate.metrics.extractors.inception import Inception
from voxflate.metrics.extractors.mobilenet import mobilenetv2
from voxflate.metrics.extractors.radiomics import Radiomics
from voxflate.metrics.extractors.untrained import random_network, random_volume_network
from voxflate.metrics.extractors.user_file import SUFFIXES, user_network

Device = str | torch.device

EXTRACTORS: dict[str, Callable[[Device], FeatureExtractor]] = {
    "mobilenetv2": mobilenetv2,
    "efficientnet-lite0": efficientnet_lite0,
    "inception": Inception,
    "random": random_network,
}
"""Networks on slices, [n, 1, H, W]."""

VOLUME_EXTRACTORS: dict[str, Callable[[Device], VolumeExtractor]] = {
    "deepbet": deepbet,
    "radiomics": lambda _: Radiomics(),
    "random3d": random_volume_network,
}
"""Networks and fixed features of whole volumes, [n, 1, D, H, W]."""


def extractor(name: str, device: Device = "cpu") -> FeatureExtractor:
    """Build an extractor of slices.

    Args:
        name: A key of `EXTRACTORS`, or the path of a TorchScript (.pt) or ONNX (.onnx) file.
        device: Device of the network.

    Raises:
        VoxflateError: If there is no such extractor or file, or its weights are missing.
    """
    if name in EXTRACTORS:
        return EXTRACTORS[name](device)
    if not name:
        raise VoxflateError(
            "evaluation.extractor is empty: an export does not keep a user's own network; give it with "
            "--set evaluation.extractor=FILE"
        )
    if Path(name).suffix.lower() in SUFFIXES:
        return user_network(Path(name), device)
    raise VoxflateError(
        f"evaluation.extractor: there is no {name!r}; choose one of {', '.join(EXTRACTORS)}, or give a "
        f"{' or '.join(SUFFIXES)} file"
    )
