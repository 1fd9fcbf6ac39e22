"""Checks that a scan's values suit its recipe: Hounsfield units if needed, and not a label map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.readers.refusals import ScanError
from voxflate.data.sources.source import Source
from voxflate.data.volume import Volume, Voxels

_SAMPLED = 20_000
_SEED = 0

MOST_LABELS = 51
"""Most different integers, from 0 on, in a label map."""

_FEWEST_CODES, _MOST_CODES = 3, 512
"""Most different integers in a parcellation; FreeSurfer's codes go up to 14175."""
_PIECEWISE = 0.5
"""Smallest share of a label map's voxels that equal their neighbour; noise makes them rare in a scan."""
_SLICES = 8

_BONE_HU, _BONE_SHARE = 700.0, 0.2
"""Largest share of a scan's voxels that can be bone, contrast agent or metal."""
_AIR_HU = -500.0
"""Anything darker is air or lung."""
_DARK, _BRIGHT = 0.5, 99
"""Percentiles that stand for the darkest and the brightest values."""


def check_intensities(source: Source, volume: Volume, is_ct: bool, top: float) -> Volume:
    """Refuse label maps and, for CT, values that are not Hounsfield units; apply an offset if allowed.

    Args:
        source: The volume's source.
        volume: In the source's units.
        is_ct: Whether the recipe reads Hounsfield units.
        top: Upper end of the recipe's window, HU.

    Returns:
        A new volume with `Reading.hu_offset` added if the values need it (decision 0103), else the same one.

    Raises:
        ScanError: Gives the values found and what to do.
    """
    reading = source.reading
    sample = _sample(volume.array)
    if source.series is None and not reading.mixed and _may_be_labels(sample, volume.array):
        _check_labels(source.path, volume.array)
    if not is_ct:
        return volume
    offset, problem = np.float32(reading.hu_offset), _not_hounsfield(sample, top)
    advice = "add what is missing with --hu-offset, such as --hu-offset -1024 where 1024 was added"
    if offset:
        remaining = _not_hounsfield(sample + offset, top)
        if not remaining and (source.lacks_units or problem or _gives_air(sample, offset)):
            return replace(volume, array=np.asarray(volume.array, np.float32) + offset)
        if source.lacks_units:
            problem = f"with {offset:g} added, {remaining}"
        advice = f"--hu-offset {offset:g} does not correct it: give another one"
    if not problem:
        return volume
    raise ScanError(
        source.path,
        f"is not a CT in Hounsfield units: {problem}; {advice}, or use --recipe mr for other scans",
    )


def _sample(array: Voxels) -> Voxels:
    """Voxels from everywhere; every k-th one could be a single column of the image."""
    flat = array.ravel()
    if flat.size <= _SAMPLED:
        return flat
    return flat[np.random.default_rng(_SEED).integers(flat.size, size=_SAMPLED)]


def _may_be_labels(values: Voxels, array: Voxels) -> bool:
    """Tell whether values are few integers from 0 on, a mask of 0 and 255, or codes of regions."""
    whole = values.dtype.kind in "iu" or (values == np.rint(values)).all()
    if not whole or values.min() < 0:
        return False
    return _are_few(values) or _is_piecewise(array, 0)


def _are_few(values: Voxels) -> bool:
    return bool(values.max() < MOST_LABELS or ((values == 0) | (values == 255)).all())


def _is_piecewise(array: Voxels, background: float) -> bool:
    """Tell whether most voxels of a few slices, without background, equal the next one in their row."""
    here, after = _neighbours(array)
    shown = here != background
    count, alike = int(np.count_nonzero(shown)), int(np.count_nonzero((here == after) & shown))
    return count > 0 and alike >= _PIECEWISE * count


def _are_codes(array: Voxels, found: Voxels, background: float) -> bool:
    """Tell whether values are codes of regions: neighbouring codes are unrelated, grey values are close."""
    if not (_FEWEST_CODES <= len(found) <= _MOST_CODES and _is_piecewise(array, background)):
        return False
    here, after = _neighbours(array)
    borders = (here != after) & (here != background) & (after != background)
    steps = np.searchsorted(found, here[borders]) - np.searchsorted(found, after[borders])
    return not len(steps) or bool(np.mean(np.abs(steps) == 1) < _PIECEWISE)


def _neighbours(array: Voxels) -> tuple[Voxels, Voxels]:
    """Voxels of a few slices, and the next voxel of each in its row."""
    some = array[:: max(1, len(array) // _SLICES)]
    return some[..., :-1], some[..., 1:]


def _check_labels(path: Path, array: Any) -> None:
    found, counts = np.unique(array, return_counts=True)
    if not _may_be_labels(found, array):
        return
    if not _are_few(found) and not _are_codes(array, found, found[counts.argmax()]):
        return
    raise ScanError(
        path,
        f"has only {len(found)} different whole numbers, 0 to {found[-1]:g}, and seems to be a label map "
        "or mask; pair it with its scan by --mask, take the scans alone, such as with --only 'images/*', "
        "or take all as one set with --mixed",
    )


def _not_hounsfield(values: Voxels, top: float) -> str:
    """The evidence against Hounsfield units; empty if there is none."""
    darkest, brightest = np.percentile(values, [_DARK, _BRIGHT])
    # A wide window may be meant for bone, but a scan without any air is rather one with air at 24.
    limit = max(top, _BONE_HU) if values.min() <= _AIR_HU else _BONE_HU
    above = float((values > limit).mean())
    if darkest > _AIR_HU and above > _BONE_SHARE:
        return (
            f"its darkest values are about {darkest:.0f} (air is -1000) and {above:.0%} of its voxels lie "
            f"above {limit:g}, where there is only bone or metal"
        )
    if brightest < _AIR_HU:
        return f"{_BRIGHT}% of its values lie below {brightest:.0f}, where there is only air"
    return ""


def _gives_air(values: Voxels, offset: np.float32) -> bool:
    """Tell whether values have no air before an offset is added, and have it afterwards."""
    darkest = float(np.percentile(values, _DARK))
    return darkest > _AIR_HU >= darkest + float(offset)
