"""Caches features of real samples on disk, keyed by everything they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import cache_folder, whole_file

__all__ = ["ArrayCache", "cache_folder"]

Arrays = dict[str, NDArray[np.float32]]


class ArrayCache:
    """Cache of named arrays: first in memory, then on disk.

    Args:
        folder: Folder for files; created when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Arrays] = {}

    def get(self, key: Sequence[object], names: Sequence[str], compute: Callable[[], Arrays]) -> Arrays:
        """Look arrays up, or compute and keep them.

        Args:
            key: Everything that the arrays depend on: hashes, names, seeds. Never a path, because its data
                may change.
            names: Names of the arrays; a file without one of them is computed again.
            compute: Returns the arrays.
        """
        digest = hashlib.sha256(repr(tuple(map(str, key))).encode()).hexdigest()[:32]
        if digest in self._known:
            return self._known[digest]
        path = self._folder / f"{digest}.npz"
        arrays = _read(path, names)
        if arrays is None:
            arrays = compute()
            # The cache only saves time: without space or permission, the work continues.
            with contextlib.suppress(VoxflateError, OSError), whole_file(path) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
        self._known[digest] = arrays
        return arrays


def _read(path: Path, names: Sequence[str]) -> Arrays | None:
    """Arrays of a file, or None if it is missing, damaged or has other arrays."""
    try:
        # Opened here, because NumPy leaves the file open if it is not a complete archive.
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
