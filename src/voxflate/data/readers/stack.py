"""Checks that all slices of a DICOM series match, and names the odd one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from voxflate.data.readers.dicom_slices import Slice
from voxflate.data.readers.refusals import LARGEST_SHEAR, ScanError
from voxflate.data.volume import Float64

SPACING_SHARE = 1e-3
"""Largest difference between a slice's pixel spacing and the series', as a fraction."""
BESIDE_SHARE = 0.1
"""Largest distance of a slice's corner from the line of the others, in pixel sides."""
ECHO_RATIO = 1.5
"""Echo times of one contrast differ by less than this."""
_LENGTH_SHARE = 1e-2
_ROUNDING_MM = 0.05


def check_alike(slices: Sequence[Slice]) -> None:
    """Refuse slices that differ in size, pixel spacing or orientation, or have invalid directions.

    Raises:
        ScanError: Names the odd slice.
    """
    sizes = [(one.count("Rows"), one.count("Columns")) for one in slices]
    common, _ = Counter(sizes).most_common(1)[0]
    for one, size in zip(slices, sizes, strict=True):
        if size != common:
            text = "x".join(map(str, size))
            raise _odd(slices, one, f"has {text} pixels, the others {common[0]}x{common[1]}")
    spacings = np.array([one.numbers("PixelSpacing", 2) for one in slices])
    middle = np.median(spacings, axis=0)
    off = np.abs(spacings - middle).max(axis=1)
    worst = int(np.argmax(off))
    if off[worst] > SPACING_SHARE * abs(middle).max():
        found = " x ".join(f"{side:g}" for side in spacings[worst])
        raise _odd(
            slices, slices[worst], f"has pixels of {found} mm, the others {middle[0]:g} x {middle[1]:g}"
        )
    _check_directions(slices)
    _check_echoes(slices)


def _check_echoes(slices: Sequence[Slice]) -> None:
    """Refuse slices of two contrasts, which may be interleaved."""
    echoes = [one.number("EchoTime") for one in slices]
    known = [echo for echo in echoes if echo > 0]
    if known and max(known) > ECHO_RATIO * min(known):
        odd = slices[echoes.index(max(known))]
        others = f"has an echo time of {max(known):g} ms, others {min(known):g}: several contrasts in one"
        raise _odd(slices, odd, others)


def _check_directions(slices: Sequence[Slice]) -> None:
    directions = np.array([one.numbers("ImageOrientationPatient", 6) for one in slices]).reshape(-1, 2, 3)
    lengths = np.linalg.norm(directions, axis=2)
    slant = np.abs((directions[:, 0] * directions[:, 1]).sum(axis=1))
    wrong = np.maximum(np.abs(lengths - 1).max(axis=1), slant)
    worst = int(np.argmax(wrong))
    if wrong[worst] > _LENGTH_SHARE:
        raise ScanError(
            slices[worst].path,
            "its ImageOrientationPatient is not two directions at a right angle; export the series again",
        )
    middle = np.median(directions, axis=0)
    cosines = (directions * middle).sum(axis=2) / lengths / np.linalg.norm(middle, axis=1)
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1))).max(axis=1)
    worst = int(np.argmax(angles))
    if angles[worst] > LARGEST_SHEAR:
        raise _odd(slices, slices[worst], f"is rotated by {angles[worst]:.1f} degrees against the others")


def check_line(
    slices: Sequence[Slice], positions: Float64, across: Float64, down: Float64, places: Float64
) -> None:
    """Refuse slices whose corners are not on one line, straight or tilted.

    Args:
        slices: In order along the normal.
        positions: Positions of their corners, mm, [slices, 3].
        across: Direction of the rows, [3].
        down: Direction of the columns, [3].
        places: Positions along the normal, mm, ascending.

    Raises:
        ScanError: Names the slice that is off the line.
    """
    in_plane = np.column_stack([positions @ across, positions @ down])
    # Distant pairs, so that rounding does not tilt the line; the median ignores one odd slice.
    half = len(slices) // 2
    slopes = np.median(
        (in_plane[half:] - in_plane[:-half]) / (places[half:] - places[:-half])[:, None], axis=0
    )
    rest = in_plane - places[:, None] * slopes
    beside = np.linalg.norm(rest - np.median(rest, axis=0), axis=1)
    worst = int(np.argmax(beside))
    side = float(slices[0].numbers("PixelSpacing", 2).min())
    if beside[worst] > max(BESIDE_SHARE * side, _ROUNDING_MM):
        raise _odd(slices, slices[worst], f"is {beside[worst]:.1f} mm off the line of the others")


def _odd(slices: Sequence[Slice], one: Slice, what: str) -> ScanError:
    return ScanError(
        slices[0].path,
        f"in its series of {len(slices)} slices, {{odd}} {what}; export the series again, or remove that "
        "slice",
        odd=one.label,
    )
