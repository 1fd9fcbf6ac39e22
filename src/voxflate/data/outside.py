"""Keeps commands from writing into prepared sets."""

from __future__ import annotations

from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import MANIFEST, SPLITS


def check_outside_sets(out: str | Path) -> None:
    """Refuse to write into a prepared set, where files could be overwritten.

    Raises:
        VoxflateError: If the folder is a prepared set or lies in one.
    """
    place = Path(out).resolve()
    for folder in (place, *place.parents):
        if all((folder / name).is_file() for name in (MANIFEST, *(f"{split}.npy" for split in SPLITS))):
            which = "is" if folder == place else "lies in"
            raise VoxflateError(f"{out}: {which} the prepared set {folder}; choose a folder outside of it")
