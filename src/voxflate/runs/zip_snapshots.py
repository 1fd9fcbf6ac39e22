"""Reads snapshots of formats 2 and 3 (PyTorch's ZIP files), so that runs of earlier versions can continue.

From format 3 on the ZIP's comment is the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from voxflate._system.errors import VoxflateError

ZIP_FORMATS = (2, 3)
_HEX = 64


def read_zip(path: Path, content: bytes) -> Any:
    """Read the content of such a file; only tensors, numbers and texts are unpickled.

    Raises:
        VoxflateError: If it is damaged, contains anything else, or would unpack to more than its size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            comment, size = archive.comment, sum(entry.file_size for entry in archive.infolist())
        if size > len(content):  # compressed; PyTorch's own files never are
            raise VoxflateError(f"{path}: would unpack to {size:,} bytes; it is not from voxflate, remove it")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except VoxflateError:
        raise
    except Exception as error:  # a damaged file makes both readers raise anything
        raise VoxflateError(
            f"{path}: is not a snapshot, is damaged, or has more than tensors and numbers; use an older one"
        ) from error
    sealed = comment == hashlib.sha256(content[:-_HEX]).hexdigest().encode()
    if isinstance(state, dict) and state.get("format") == 3 and not sealed:
        raise VoxflateError(f"{path}: is damaged: its checksum does not match; use an older one")
    return state
