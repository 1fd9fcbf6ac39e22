"""Steps from a scan to a training volume: pure functions Volume -> Volume, ordered by `recipes`.

Arrays are [D, H, W] = (S, A, R); lengths along the axes are in this order. Every step keeps the
affine valid: a structure stays at its world position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from voxflate._system.errors import VoxflateError
from voxflate.data.readers.itk import simple_itk
from voxflate.data.volume import Float32, Triple, Volume, Voxels

_MARGIN = 0.01
"""Assumed error of a sample's percentile, as a fraction of all values."""

_CLIPPED = (0.1, 99.9)
"""Percentiles to which intensities are clipped before the foreground is computed."""
_LARGE_PART = 0.3
"""Smallest size of another part of the foreground relative to the largest; a table is smaller."""
_LEAST_KEPT = 0.02
"""Share of a volume's voxels that a crop must keep."""

AIR = -1.0
"""The value of empty space once intensities are in [-1, 1].

`metrics.planes` and `nn.augment` define it again, because rooms on one level do not import each other.
"""


@dataclass(frozen=True)
class Step:
    """A step with its settings, as recorded in the manifest.

    Attributes:
        function: Takes a volume and the settings, and returns a new volume without changing the old one.
        settings: Keyword arguments; numbers and tuples of numbers only.
    """

    function: Callable[..., Volume]
    settings: Mapping[str, Any]

    def __call__(self, volume: Volume) -> Volume:
        """Apply the step."""
        return self.function(volume, **self.settings)

    def record(self) -> dict[str, Any]:
        """Name and settings, ready for JSON."""
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in self.settings.items()}
        return {"step": self.function.__name__, **settings}


def window_hu(volume: Volume, low: float, high: float) -> Volume:
    """Clip CT intensities to a window and map it to [-1, 1].

    Args:
        volume: CT volume in Hounsfield units (air is -1000, water 0).
        low: Lower end of the window, HU; -250 in the paper.
        high: Upper end of the window, HU; 650 in the paper.

    Returns:
        A new volume, unitless, with the shares that were `clipped`.

    Raises:
        VoxflateError: If low >= high, or no voxel is in the window (usually the volume was already
            rescaled, or its slope and intercept were not applied).

    Source: Sec. 4.2.1.
    """
    if low >= high:
        raise VoxflateError(f"the window must have low < high, got {low:g} to {high:g} HU")
    if not ((volume.array > low) & (volume.array < high)).any():
        raise VoxflateError(
            f"no voxel is between {low:g} and {high:g} HU (values range from {volume.array.min():g} to "
            f"{volume.array.max():g}): not a CT in Hounsfield units; use the recipe mr for other scans"
        )
    below, above = (
        int(np.count_nonzero(out)) / out.size for out in (volume.array < low, volume.array > high)
    )
    return replace(_map(volume, low, high), clipped=(below, above))


def rescale_percentiles(volume: Volume, low: float, high: float) -> Volume:
    """Map the range between two percentiles of the volume's intensities to [-1, 1], and clip the rest.

    Args:
        volume: MR volume in arbitrary units.
        low: Percentile that becomes -1, 0 to 100, over all voxels. Stripped air is by far the most common
            value, so it becomes exactly -1.
        high: Percentile that becomes 1.

    Returns:
        A new volume, unitless; its `intensity` has the source values of -1 and 1.

    Raises:
        VoxflateError: If both percentiles have the same value.
    """
    bottom, top = _percentiles(volume.array, low, high)
    if bottom >= top:
        raise VoxflateError(
            f"percentiles {low:g} and {high:g} are both {bottom:g}: almost all voxels are equal; remove the "
            "scan"
        )
    return _map(volume, bottom, top)


def crop_foreground(volume: Volume, margin: float) -> Volume:
    """Cut away the empty space around the scanned object.

    Foreground is the largest connected part above Otsu's threshold of the intensities, and every part that
    has at least `_LARGE_PART` of its size. The brightest and darkest voxels are clipped first, so that a
    spike or a piece of metal does not decide on the threshold.

    Args:
        volume: In the source's units; empty space is dark.
        margin: Margin kept around the foreground inside the volume, mm.

    Returns:
        A new volume, part of the old one.

    Raises:
        VoxflateError: If almost nothing would be left.

    Source: Otsu, "A threshold selection method from gray-level histograms", 1979.
    """
    from scipy import ndimage  # slow to load and rarely needed

    itk = simple_itk()
    clipped = np.clip(np.asarray(volume.array, np.float32), *_percentiles(volume.array, *_CLIPPED))
    image = itk.GetImageFromArray(clipped)
    bright = itk.OtsuThreshold(image, 0, 1)  # 0 up to the threshold, 1 above
    parts, count = ndimage.label(itk.GetArrayViewFromImage(bright))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(sizes >= _LARGE_PART * sizes.max(initial=1))
    found = ndimage.find_objects(parts)
    if not len(large):
        raise VoxflateError("has no foreground brighter than the rest, so --crop has nothing to keep")
    box = [
        slice(min(found[part][axis].start for part in large), max(found[part][axis].stop for part in large))
        for axis in range(3)
    ]
    grid = volume.geometry
    reach = [math.ceil(margin / side) for side in grid.spacing]
    low = [max(0, part.start - r) for part, r in zip(box, reach, strict=True)]
    high = [min(n, part.stop + r) for part, r, n in zip(box, reach, grid.shape, strict=True)]
    kept = volume.array[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    if kept.size < _LEAST_KEPT * volume.array.size:
        raise VoxflateError(
            f"--crop would keep only {kept.size / volume.array.size:.1%} of its voxels, "
            f"{'x'.join(map(str, kept.shape))}"
            "; look at the scan, and prepare it without --crop or remove it"
        )
    depth, height, width = kept.shape
    moved = grid.regrid((depth, height, width), (low[0], low[1], low[2]), (1, 1, 1))
    return replace(volume, array=np.ascontiguousarray(kept), affine=moved.affine)


def resample_box(volume: Volume, box: Triple, shape: tuple[int, int, int], fill: float = AIR) -> Volume:
    """Cut a centred box out of a volume, padding with air if it is larger, and resample it to a shape.

    Each axis is interpolated linearly; if it shrinks, the triangle is widened to reach one new voxel to each
    side (as in the anti-aliasing of image libraries), so fine structure is averaged, not skipped. Up to the
    volume's faces, border voxels are continued; beyond them there is air.

    Args:
        volume: Intensities in [-1, 1].
        box: Sides in mm, D, H, W, around the centre of the volume's grid.
        shape: (D, H, W) of the result, voxels.
        fill: Value of empty space.

    Returns:
        A new volume with the spacing box / shape.
    """
    grid = volume.geometry
    # New voxel sides in old voxels, and the index of the first new centre.
    depth, height, width = (b / n / mm for b, n, mm in zip(box, shape, grid.spacing, strict=True))
    step = (depth, height, width)
    first = [(old - 1) / 2 - s * (new - 1) / 2 for old, new, s in zip(grid.shape, shape, step, strict=True)]
    in_d, in_h, in_w = (
        _weights(*axis) for axis in zip(grid.shape, shape, first, step, (1, shape[0], shape[0]), strict=True)
    )
    # Always along a middle axis, so that whole rows are summed; each slice is transposed for the last axis.
    rows = _interpolate(volume.array.reshape(1, grid.shape[0], -1), in_d, fill)
    rows = _interpolate(rows.reshape(shape[0], *grid.shape[1:]), in_h, fill)
    rows = _interpolate(rows.transpose(0, 2, 1), in_w, fill)
    array = np.ascontiguousarray(rows.transpose(0, 2, 1))
    start = (first[0], first[1], first[2])
    return replace(volume, array=array, affine=grid.regrid(shape, start, step).affine)


def resize_in_plane(volume: Volume, height: int, width: int) -> Volume:
    """Resize every axial slice bilinearly regardless of spacing; the number of slices does not change.

    Args:
        volume: Intensities in [-1, 1].
        height: New size of axis H, voxels.
        width: New size of axis W, voxels.

    Returns:
        A new volume [D, height, width] of the same extent in mm.

    Source: Sec. 4.2.1.
    """
    grid = volume.geometry
    return resample_box(volume, grid.extent, (grid.shape[0], height, width))


def fit_depth(volume: Volume, depth: int) -> Volume:
    """Crop or pad a volume to a number of slices: take the middle run, or add air slices at both ends.

    Args:
        volume: Intensities in [-1, 1].
        depth: Number of slices of the result.

    Returns:
        A new volume [depth, H, W]; an odd slice is cut from, or added to, the upper end.

    Source: Sec. 4.2.1, "consecutive slice sampling or zero padding". Paper: does not say which run; here: the
    middle one, because a scan must always give the same volume.
    """
    grid = volume.geometry
    start = (grid.shape[0] - depth) // 2 if grid.shape[0] > depth else -((depth - grid.shape[0]) // 2)
    kept = volume.array[max(start, 0) : max(start, 0) + depth]
    below = max(-start, 0)
    above = depth - below - kept.shape[0]
    array = np.pad(kept, ((below, above), (0, 0), (0, 0)), constant_values=AIR)
    moved = grid.regrid((depth, *grid.shape[1:]), (start, 0, 0), (1, 1, 1))
    return replace(volume, array=array, affine=moved.affine)


def _map(volume: Volume, low: float, high: float) -> Volume:
    """Map [low, high] linearly to [-1, 1] and clip."""
    array = np.subtract(volume.array, np.float32(low), dtype=np.float32)
    array *= np.float32(2 / (high - low))
    array -= 1
    return replace(volume, array=np.clip(array, -1, 1, out=array), intensity=(low, high))


def _percentiles(array: Voxels, low: float, high: float) -> tuple[float, float]:
    """Two percentiles with linear interpolation, as in np.percentile, but ten times faster."""
    flat = array.ravel()
    sample = np.sort(flat[:: max(1, flat.size // 8192)].astype(np.float32))
    ranks = np.array([low, high]) / 100 * (flat.size - 1)
    below = np.floor(ranks).astype(int)
    first, second = (np.array(_order_statistics(flat, sample, rank)) for rank in below.tolist())
    bottom, top = (
        (one[0] + share * (one[1] - one[0]))
        for one, share in zip((first, second), ranks - below, strict=True)
    )
    return float(bottom), float(top)


def _order_statistics(flat: Voxels, sample: Float32, rank: int) -> tuple[float, float]:
    """The values at a rank (0 is the smallest) and at the next one; at the last rank, the same value twice.

    Sorts only one end of the values. Its border is estimated from a sorted sample and its size is then
    counted; if the estimate was wrong, everything is sorted.
    """
    upper = min(rank + 1, flat.size - 1)
    place = rank / flat.size * len(sample)
    lower_end = rank < flat.size // 2
    margin = _MARGIN * len(sample)
    guess = sample[int(np.clip(place + margin if lower_end else place - margin, 0, len(sample) - 1))]
    border = flat.dtype.type(guess)  # the same value: integers are compared as integers, which is faster
    below, equal = int(np.count_nonzero(flat < border)), int(np.count_nonzero(flat == border))
    if below <= rank and upper < below + equal:  # one frequent value, such as the air of a stripped scan
        return float(border), float(border)
    # As float32, which NumPy sorts fastest.
    kept = np.sort(flat[flat <= border if lower_end else flat >= border].astype(np.float32))
    before = 0 if lower_end else flat.size - kept.size
    if not (before <= rank and upper < before + kept.size):
        kept, before = np.sort(flat), 0
    return float(kept[rank - before]), float(kept[upper - before])


class _Weights(NamedTuple):
    """The weights of the old voxels in each new voxel along an axis.

    Attributes:
        matrix: Sparse, float32 [blocks new, blocks old]. The weights of a new voxel sum to 1 inside the old
            axis, and to less beyond it (the rest is air).
        missing: 1 minus these sums, float32 [blocks new, 1]; None if they are all 1.
    """

    matrix: Any
    missing: Float32 | None


@lru_cache(maxsize=16)
def _weights(old: int, new: int, first: float, step: float, blocks: int) -> _Weights:
    """Linear interpolation along an axis; if it shrinks, the triangle reaches one new voxel to each side.

    Cached, because most scans of a cohort have the same grid.

    Args:
        old: Old size.
        new: New size.
        first: Old index of new voxel 0.
        step: New voxel side in old voxels.
        blocks: Number of lines of voxels that the matrix covers, one after the other.
    """
    reach = max(step, 1.0)
    centres = first + step * np.arange(new)[:, None]
    # The triangle's open support, 2 * reach voxels wide, holds at most this many.
    taps = math.ceil(2 * reach)
    indices = np.floor(centres - reach).astype(np.int64) + np.arange(1, taps + 1)
    weights = np.clip(1 - np.abs(indices - centres) / reach, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    weights[(indices < 0) | (indices >= old)] = 0
    inside = ((centres > -0.5) & (centres < old - 0.5))[:, 0]
    weights[inside] /= weights[inside].sum(axis=1, keepdims=True)
    used = weights > 0
    ends = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    one = sparse.csr_array((weights[used].astype(np.float32), indices[used], ends), shape=(new, old))
    matrix = sparse.kron(sparse.eye_array(blocks, dtype=np.float32), one, format="csr")
    return _Weights(matrix, None if inside.all() else np.asarray(1 - matrix.sum(axis=1), np.float32)[:, None])


def _interpolate(array: Voxels, weights: _Weights, fill: float) -> Float32:
    """Weighted sums along the middle axis of [blocks, old, rest], with `fill` for the missing weight.

    A sparse product: most weights are 0, and BLAS would start threads inside the worker threads.
    """
    blocks, old, rest = array.shape
    total = weights.matrix @ array.reshape(blocks * old, rest)
    if weights.missing is not None:
        total += np.float32(fill) * weights.missing
    return np.asarray(total.reshape(blocks, -1, rest), np.float32)
