"""What every reader refuses, said once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.volume import Float64
from voxflate.errors import VoxflateError

SMALLEST_MM, LARGEST_MM = 1e-4, 100.0
"""Voxel sides that are believed, from microscopes to thick slices."""

_MOST_PACKED = 1100
"""No deflate stream unpacks to more than 1032 times its size."""


def check_claim(path: Path, claimed: int, *, packed: bool) -> None:
    """Refuse a header that claims more than its file can hold, before memory is taken for it.

    Args:
        path: The file.
        claimed: Bytes of voxels that its header claims, at least.
        packed: Say whether they may be compressed.

    Raises:
        VoxflateError: Names both sizes.
    """
    size = path.stat().st_size
    if claimed > size * (_MOST_PACKED if packed else 1):
        raise VoxflateError(
            f"{path}: is cut short or damaged: its header claims {claimed:,} bytes of voxels, the file has "
            f"{size:,}; replace or remove it"
        )


def check_grid(path: Path, affine: Float64) -> None:
    """Refuse an affine that gives voxels no size, or one that no scanner makes.

    One such voxel size would also blow up the box of a whole cohort.

    Raises:
        VoxflateError: Names the file.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise VoxflateError(
            f"{path}: its affine cannot be inverted, so voxels have no size; repair the header"
        )
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if sides.min() < SMALLEST_MM or sides.max() > LARGEST_MM:
        found = " x ".join(f"{side:.3g}" for side in sides)
        raise VoxflateError(
            f"{path}: has voxels of {found} mm, expected sides of {SMALLEST_MM:g} to {LARGEST_MM:g} mm; "
            "repair the header"
        )


def check_voxels(path: Path, array: Any) -> None:
    """Refuse voxels that hold NaN or infinity, or are all equal.

    Raises:
        VoxflateError: Names the file and what is wrong.
    """
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise VoxflateError(
            f"{path}: {bad} of {array.size} voxels are NaN or infinite; repair or remove the file"
        )
    if array.min() == array.max():
        raise VoxflateError(f"{path}: all voxels are {array.flat[0]:g}, a constant volume; remove the file")


def unreadable(path: Path, kind: str, error: BaseException) -> VoxflateError:
    """What to say when a library cannot read a file: its own last line, on one line."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:160] if lines else type(error).__name__
    return VoxflateError(f"{path}: cannot be read as {kind} ({reason}); replace or remove the file")
