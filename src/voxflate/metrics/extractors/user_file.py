"""A user's own feature network from a TorchScript or ONNX file.

The network takes grey slices as three equal channels, [n, 3, side, side] float32, with ImageNet's
normalisation, and returns [n, f]; other preprocessing must be in the file. An ONNX network with a fixed
input size gets slices of that size, every other network slices of 224 pixels.

Shape letters: n slices, f features.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from voxflate._system.errors import VoxflateError
from voxflate._system.extras import import_optional
from voxflate._system.files import sha256
from voxflate.metrics.extractors.base import SliceNetwork
from voxflate.metrics.extractors.inception import Inception
from voxflate.metrics.extractors.weights import load_script

SUFFIXES = (".pt", ".onnx")
SIDE = 224
_HASH_DIGITS = 8


def user_network(path: Path, device: str | torch.device = "cpu") -> SliceNetwork:
    """Wrap a file's network as an extractor named after the file and its hash.

    Args:
        path: A .pt (TorchScript) or .onnx file.
        device: Device of a TorchScript network; ONNX runs on the CPU.

    Raises:
        VoxflateError: If the file is missing or has another format, or its network does not turn
            [n, 3, side, side] into [n, f].
    """
    if not path.is_file():
        raise VoxflateError(f"{path}: no such file; give a TorchScript (.pt) or ONNX (.onnx) network")
    network: Callable[[Tensor], Tensor]
    if path.suffix.lower() == ".onnx":
        network, side = _onnx(path)
        device = "cpu"
    else:
        network, side = load_script(path, device), SIDE
    digest = sha256(path)
    stem = re.sub(r"[^a-z0-9.]+", "-", path.stem.lower()).strip("-") or "network"
    if stem.split("-")[0] == Inception.name:
        stem = f"user-{stem}"  # only the distances of Inception's original weights are FIDs
    wrapped = SliceNetwork(f"{stem}-{digest[:_HASH_DIGITS]}", network, digest, side, device)
    _try(wrapped, path)
    return wrapped


def _onnx(path: Path) -> tuple[Callable[[Tensor], Tensor], int]:
    """The file's network and the side of its input."""
    onnxruntime = import_optional("onnxruntime", "onnx", f"{path}: ONNX files need onnxruntime")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises a different class for each kind of bad file
        raise VoxflateError(f"{path}: is not an ONNX file that onnxruntime reads ({_line(error)})") from error
    wanted = session.get_inputs()[0]
    sizes = [size for size in wanted.shape[2:] if isinstance(size, int)]

    def network(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(session.run(None, {wanted.name: x.contiguous().cpu().numpy()})[0]))

    return network, sizes[0] if sizes else SIDE


def _try(network: SliceNetwork, path: Path) -> None:
    """Run two slices through the network, to refuse an unsuitable one before any work is done."""
    try:
        features = network(torch.zeros(2, 1, network.side, network.side))
    except Exception as error:
        raise VoxflateError(
            f"{path}: does not take [n, 3, {network.side}, {network.side}] ({_line(error)})"
        ) from error
    if features.ndim != 2 or len(features) != 2:
        raise VoxflateError(
            f"{path}: returns {list(features.shape)} for two slices, expected [2, f]; pool in the network"
        )


def _line(error: Exception) -> str:
    """The last line of an error, where runtimes put the reason, below their call stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:160] if lines else type(error).__name__
