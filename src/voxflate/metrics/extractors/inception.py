"""Inception V3 with the weights of 2015-12-05: the only network whose distances are called FID.

The TorchScript file is the port used by the StyleGAN papers and clean-fid; it resizes and normalises by
itself, so no network definition is needed here.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

import torch
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.metrics.extractors.cache import cache_folder
from voxflate.metrics.extractors.weights import load_script, verify

INCEPTION_NAME = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
INCEPTION_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
)
INCEPTION_VARIABLE = "VOXFLATE_INCEPTION"
DOWNLOAD_SECONDS = 60
_CHUNK = 16  # images of 299 x 299 at a time


def find_inception() -> Path:
    """Find the file of the FID's Inception network: the user's, or one that other tools downloaded.

    Looks at `$VOXFLATE_INCEPTION`, our cache, and the caches of PyTorch Hub and of tools that download
    the same file.

    Raises:
        VoxflateError: If there is none, or it is another file.
    """
    advice = "distances of another network are not FIDs: download the file again"
    if chosen := os.environ.get(INCEPTION_VARIABLE):
        path = Path(chosen)
        if not path.is_file():
            raise VoxflateError(f"{path}: no such file; set {INCEPTION_VARIABLE} to {INCEPTION_NAME}'s path")
        verify(path, INCEPTION_SHA256, advice)
        return path
    for path in _usual_places():
        if path.is_file():
            verify(path, INCEPTION_SHA256, advice)
            return path
    raise VoxflateError(
        f"{INCEPTION_NAME}: the FID's Inception network was not found; set {INCEPTION_VARIABLE} to its path, "
        f"or run once with --download to download it (91 MB) from {INCEPTION_URL}"
    )


def download_inception(url: str = INCEPTION_URL) -> Path:
    """Download the file into our cache unless it is there; only on the user's request.

    Raises:
        VoxflateError: If it cannot be downloaded or is another file; then nothing is kept.
    """
    path = cache_folder() / INCEPTION_NAME
    if path.is_file():
        return path
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_SECONDS) as response:
            content = response.read()
    except OSError as error:  # bad URL, no network, or timeout
        raise VoxflateError(
            f"{url}: cannot be downloaded ({error}); get it by hand and set {INCEPTION_VARIABLE} to its path"
        ) from error
    if hashlib.sha256(content).hexdigest() != INCEPTION_SHA256:
        raise VoxflateError(f"{url}: returned a file other than Inception's, which was not kept")
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def _usual_places() -> list[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folders = [
        cache_folder(),
        Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints",
        cache / "k-diffusion",
        Path("/tmp"),  # where clean-fid keeps it
    ]
    places = [folder / INCEPTION_NAME for folder in folders]
    # StyleGAN's tools put the MD5 of the URL before the name.
    return places + sorted((cache / "dnnlib" / "downloads").glob(f"*_{INCEPTION_NAME}"))


class Inception:
    """The Inception network of the FID; a `FeatureExtractor`.

    Args:
        device: Device of the network.

    Raises:
        VoxflateError: As `find_inception`.
    """

    name = "inception"
    side = 299  # the file resizes by itself

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._device = torch.device(device)
        self._network = load_script(find_inception(), self._device)
        self.weights_sha256 = INCEPTION_SHA256

    @torch.inference_mode()
    def __call__(self, slices: Tensor) -> Tensor:
        """Features of slices: [n, 1, H, W] in [-1, 1] -> float32 [n, 2048] on the CPU."""
        if slices.ndim != 4 or slices.shape[1] != 1 or slices.shape[0] == 0:
            raise ValueError(f"slices must be [n, 1, H, W] with n >= 1, got shape {tuple(slices.shape)}")
        with torch.autocast(self._device.type, enabled=False):
            return torch.cat([self._features(chunk) for chunk in torch.split(slices, _CHUNK)])

    def _features(self, slices: Tensor) -> Tensor:
        # The FID is defined on 8-bit colour images.
        pixels = ((slices.to(self._device, torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        features: Tensor = self._network(pixels.repeat(1, 3, 1, 1), return_features=True)
        return features.float().cpu()


def frechet_name(extractor_name: str) -> str:
    """Name of a Frechet distance: fid for Inception, otherwise frechet-NAME.

    The name of a modality may follow the extractor's.

    >>> frechet_name("inception"), frechet_name("inception-t2"), frechet_name("mobilenetv2-t2")
    ('fid', 'fid-t2', 'frechet-mobilenetv2-t2')
    """
    stem, *modality = extractor_name.split("-", 1)
    return "-".join(["fid", *modality]) if stem == Inception.name else f"frechet-{extractor_name}"
