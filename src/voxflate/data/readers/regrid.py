"""Resamples stacks of slices that do not form a box of voxels: linear, nothing cut off."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from voxflate.data.volume import Float32, Float64, Geometry, Triple, Volume


def even_places(places: Float64) -> int:
    """Number of slices from the first to the last position at the median gap, both included.

    >>> even_places(np.array([0.0, 2.0, 4.0, 8.0]))
    5
    """
    return round(float((places[-1] - places[0]) / np.median(np.diff(places)))) + 1


def even_out(array: Float32, places: Float64) -> Float32:
    """Interpolate slices to evenly spaced positions.

    Args:
        array: [D, H, W].
        places: Position of each slice, mm, ascending.

    Returns:
        [`even_places`, H, W], from the first to the last position.
    """
    wanted = np.linspace(places[0], places[-1], even_places(places))
    above = np.clip(np.searchsorted(places, wanted, side="right"), 1, len(places) - 1)
    shares = (wanted - places[above - 1]) / (places[above] - places[above - 1])
    share = shares.astype(np.float32)[:, None, None]
    return np.asarray(array[above - 1] * (1 - share) + array[above] * share)


def upright_geometry(grid: Geometry) -> Geometry:
    """The smallest grid with right angles that contains the voxel centres of a sheared grid.

    The first file axis and the plane of the first two are kept, as are the distances between rows, columns
    and slices. Its note says that the scan is resampled.
    """
    steps = grid.affine[:3, :3]
    directions, lengths = np.linalg.qr(steps)
    new_steps = directions * np.diag(lengths)  # signs too: the new axes point where the old ones do
    last = np.array(grid.shape[::-1]) - 1
    corners = np.array(list(product(*((0, end) for end in last))), np.float64)
    placed = np.linalg.solve(new_steps, steps @ corners.T)
    low, high = placed.min(axis=1), placed.max(axis=1)
    counts = [math.ceil(round(float(span), 3)) + 1 for span in high - low]
    affine = np.eye(4)
    affine[:3, :3] = new_steps
    affine[:3, 3] = grid.affine[:3, 3] + new_steps @ low
    note = "the axes are not at right angles, and the scan was resampled to a box (--regrid)"
    return Geometry((counts[2], counts[1], counts[0]), affine, "; ".join(filter(None, (grid.note, note))))


def old_index(old: Float64, new: Float64, shift: Triple = (0.0, 0.0, 0.0)) -> tuple[Float64, Float64]:
    """Where the voxels of a new grid lie in an old one: at old index = matrix @ new index + offset.

    Args:
        old: Affine of the old grid.
        new: Affine of the new grid.
        shift: Added to every new index, D, H, W.

    Returns:
        The matrix [3, 3] and the offset [3], for indices (d, h, w).
    """
    change = np.linalg.solve(old, new)  # new index -> old index, both (w, h, d)
    matrix, offset = change[:3, :3][::-1, ::-1], change[:3, 3][::-1]
    # A rounding error would push whole border planes out of the old grid.
    return np.round(matrix, 9), np.round(offset + matrix @ np.array(shift), 9)


def upright(volume: Volume) -> Volume:
    """Resample a sheared volume to `upright_geometry`; outside its voxels is its smallest value (air)."""
    from scipy import ndimage  # slow to load and rarely needed

    grid = upright_geometry(volume.geometry)
    matrix, offset = old_index(volume.affine, grid.affine)
    array = ndimage.affine_transform(
        np.asarray(volume.array, np.float32),
        matrix,
        offset,
        grid.shape,
        order=1,
        mode="constant",
        cval=float(volume.array.min()),
    )
    return Volume(np.asarray(array, np.float32), grid.affine, volume.intensity)
