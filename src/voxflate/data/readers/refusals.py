"""Checks that every reader makes, and refusals that keep personal data private."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.content import hint
from voxflate.data.volume import Float64

SMALLEST_MM, LARGEST_MM = 1e-4, 100.0
"""Plausible voxel sides, from microscopes to thick slices."""

LARGEST_SHEAR = 0.2
"""Largest deviation of axes from a right angle, degrees; a tilted gantry is off by 5 to 30."""

NAN_AIR = "air"
"""The only way to read NaN: as empty space."""

_MOST_PACKED = 1100
"""Highest compression ratio of a deflate stream."""


class ScanError(VoxflateError):
    """A scan that cannot be used.

    The message is for the terminal and names the file. The `reason` is for files that are passed on: without
    the path, and without any text from a header or a file name.

    Args:
        path: The file, or the first file of a series.
        reason: What is wrong and what to do; `{name}` stands for a value that only the terminal shows.
        private: Those values.

    Attributes:
        files: All known files of the scan.
        name: The scan's name as `Source.name`, if the path is not enough; must not be written anywhere.
    """

    def __init__(self, path: Path, reason: str, **private: object) -> None:
        shown = {name: " ".join(printable(value).split())[:160] for name, value in private.items()}
        super().__init__(f"{printable(path)}: {reason.format(**shown)}")
        self.path = path
        self.reason = reason.format(**dict.fromkeys(private, "..."))
        self.files: tuple[Path, ...] = (path,)
        self.name = ""


class ConstantError(ScanError):
    """A scan whose voxels are all equal."""


def printable(value: object) -> str:
    """Make a text safe for any terminal line: escape line breaks, control characters and stray bytes."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in str(value)
    )


def check_claim(path: Path, claimed: int, *, packed: bool) -> None:
    """Refuse a header that claims more than its file can hold, before memory is allocated.

    Args:
        path: The file.
        claimed: Bytes of voxels that its header claims (a lower bound).
        packed: Whether the voxels may be compressed.

    Raises:
        ScanError: Names both sizes.
    """
    size = path.stat().st_size
    if claimed > size * (_MOST_PACKED if packed else 1):
        raise ScanError(
            path,
            f"is cut short or damaged: its header claims {claimed:,} bytes of voxels, the file has {size:,}; "
            "replace or remove it",
        )


def check_grid(path: Path, affine: Float64) -> None:
    """Refuse an affine that gives voxels no size, or an implausible one.

    One such voxel size would also enlarge the box of a whole cohort.

    Raises:
        ScanError: Names the file.
    """
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-14:
        raise ScanError(path, "its affine cannot be inverted, so voxels have no size; repair the header")
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if sides.min() < SMALLEST_MM or sides.max() > LARGEST_MM:
        found = " x ".join(f"{side:.3g}" for side in sides)
        raise ScanError(
            path,
            f"has voxels of {found} mm, expected sides of {SMALLEST_MM:g} to {LARGEST_MM:g} mm; repair the "
            "header (NIfTI: pixdim and xyzt_units)",
        )


def check_orientation(path: Path, *, known: bool, why: str = "") -> None:
    """Refuse a file if neither its header nor the user says which way its axes point.

    Args:
        path: The file.
        known: Whether one of them does.
        why: How the header shows that it does not, in brackets, after a blank.

    Raises:
        ScanError: Names --assume.
    """
    if not known:
        raise ScanError(
            path,
            f"does not say which way its axes point{why}, and left and right are never guessed; convert it "
            "again with the orientation kept, or give it with --assume RAS",
        )


def check_right_angles(path: Path, affine: Float64) -> None:
    """Refuse axes that are not at right angles: such voxels do not fill a box.

    Raises:
        ScanError: Gives the angle.
    """
    shear = shear_degrees(affine)
    if shear > LARGEST_SHEAR:
        raise ScanError(
            path,
            f"its axes are {shear:.1f} degrees off a right angle, at most {LARGEST_SHEAR} can be read; "
            "resample it with --regrid, or remove it",
        )


def shear_degrees(affine: Float64) -> float:
    """Largest deviation of an affine's axes from a right angle, degrees."""
    return _shear_of(affine[:3, :3].tobytes())


@lru_cache
def _shear_of(steps: bytes) -> float:
    """Cached, because scans of a cohort mostly have the same axes, and each is needed more than once."""
    axes = np.frombuffer(steps).reshape(3, 3)
    axes = axes / np.linalg.norm(axes, axis=0)
    products = np.abs(np.triu(axes.T @ axes, 1)).max()
    return float(np.degrees(np.arcsin(min(1.0, products))))


def check_voxels(path: Path, array: Any, air: float | None = None) -> Any:
    """Refuse voxels that are NaN, infinite or all equal.

    Args:
        path: The file.
        array: Its voxels.
        air: Reads NaN as empty space: it becomes the smallest value of the scan, but at most this one.
            None refuses NaN.

    Returns:
        The voxels, without NaN.

    Raises:
        ScanError: Names the file and what is wrong.
    """
    finite = np.isfinite(array) if array.dtype.kind == "f" else None
    if finite is not None and not finite.all():
        if air is not None and finite.any() and not np.isinf(array).any():
            array = np.where(finite, array, np.float32(min(air, array[finite].min())))
        else:
            raise _not_finite(path, array, int(array.size - finite.sum()))
    if array.min() == array.max():
        raise ConstantError(path, f"all voxels are {array.flat[0]:g}, a constant volume; remove the file")
    return array


def _not_finite(path: Path, array: Any, bad: int) -> ScanError:
    if np.isinf(array).any():
        return ScanError(
            path,
            f"{bad} of {array.size} voxels are NaN or infinite, or too large for 32 bits; repair or remove "
            "the file",
        )
    if bad == array.size:
        return ScanError(path, "all voxels are NaN; remove the file")
    return ScanError(
        path,
        f"{bad} of {array.size} voxels are NaN; if they are empty space, say so with --nan {NAN_AIR}, else "
        "repair or remove the file",
    )


def unreadable(path: Path, kind: str, error: BaseException) -> ScanError:
    """Report that a library cannot read a file, with its last line, which may quote the file."""
    if isinstance(error, ScanError):
        return error
    if isinstance(error, PermissionError):
        return ScanError(path, "cannot be read (permission denied); change its permissions, or remove it")
    instead = hint(path)
    if instead and not instead.startswith(f"it is {kind};"):  # renaming would not help
        return ScanError(path, f"cannot be read as {kind} ({instead}); replace or remove it")
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = lines[-1] if lines else type(error).__name__
    return ScanError(path, f"cannot be read as {kind} ({{said}}); replace or remove the file", said=said)
