"""Puts all channels of a subject on the grid of its first image, and applies a recipe's steps to them.

Label values are never interpolated. Each class of a mask becomes a channel, +1 inside the class and -1
outside, and these channels are interpolated. So a prepared voxel holds the class's share of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from voxflate.data.preparing.steps import Step, crop_foreground, rescale_percentiles, window_hu
from voxflate.data.readers.regrid import old_index
from voxflate.data.volume import Float32, Float64, Geometry, Triple, Volume

_SAME = 1e-3
"""Grids that differ by at most this many voxels count as equal."""
_POINTS = 32
_INTENSITY_STEPS = (rescale_percentiles, window_hu)


def class_volumes(mask: Volume, values: Sequence[int]) -> list[Volume]:
    """A mask's classes, each +1 inside and -1 outside, int8."""
    shown = ((mask.array == value).view(np.int8) for value in values)
    return [replace(mask, array=2 * array - np.int8(1)) for array in shown]


def apply_steps(
    images: Sequence[Volume], masks: Sequence[Volume], steps: Sequence[Step]
) -> tuple[list[Volume], list[Volume]]:
    """Apply the steps of a recipe to the channels of a subject, which share a grid.

    Steps that change intensities apply to each image separately. A crop is computed from the first image.

    Args:
        images: In the source's units, at least one.
        masks: Classes, in [-1, 1].
        steps: In order.

    Returns:
        The images and the masks after the steps.
    """
    images, masks = list(images), list(masks)
    for step in steps:
        if step.function is crop_foreground:
            old, images[0] = images[0].geometry, step(images[0])
            new = images[0].geometry
            images[1:] = [_cut(volume, old, new) for volume in images[1:]]
            masks = [_cut(volume, old, new) for volume in masks]
        else:
            images = [step(volume) for volume in images]
            if step.function not in _INTENSITY_STEPS:
                masks = [step(volume) for volume in masks]
    return images, masks


def _cut(volume: Volume, old: Geometry, new: Geometry) -> Volume:
    """Cut the part of a volume that lies on the new grid, which is part of the old one."""
    start = np.rint(np.linalg.solve(old.affine, new.affine)[:3, 3]).astype(int)[::-1]
    box = tuple(slice(first, first + side) for first, side in zip(start, new.shape, strict=True))
    return replace(volume, array=np.ascontiguousarray(volume.array[box]), affine=new.affine)


def on_grid(volume: Volume, grid: Geometry, fill: float) -> Volume:
    """Resample a volume to another grid in the same world.

    Values are interpolated linearly; if the new voxels are larger, several points in each are averaged. Up
    to the volume's faces, border voxels are continued.

    Args:
        volume: On any grid, including oblique and sheared ones.
        grid: The new grid.
        fill: Value outside the volume's faces.

    Returns:
        float32, or the volume itself if the grids are equal.
    """
    change: Any = np.linalg.solve(volume.affine, grid.affine)  # new index -> old index, both (w, h, d)
    if volume.array.shape == grid.shape and _is_same(change, grid):
        return replace(volume, affine=grid.affine)
    places = [math.ceil(round(float(side), 3)) for side in np.linalg.norm(change[:3, :3], axis=0)[::-1]]
    shifts = [(np.arange(count) + 0.5) / count - 0.5 for count in places]
    total = np.zeros(grid.shape, np.float32)
    for shift in product(*shifts):
        total += _sampled(volume, grid, shift, fill)
    total /= math.prod(places)
    return replace(volume, array=total, affine=grid.affine)


def uncovered(grid: Geometry, other: Geometry) -> float:
    """Share of a grid that lies outside the faces of another one, estimated at `_POINTS` places per axis."""
    matrix, offset = old_index(other.affine, grid.affine)
    places = [(np.arange(_POINTS) + 0.5) / _POINTS * side - 0.5 for side in grid.shape]
    found = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1) @ matrix.T + offset
    inside = ((found > -0.5) & (found < np.array(other.shape) - 0.5)).all(axis=-1)
    return 1 - float(inside.mean())


def _is_same(change: Float64, grid: Geometry) -> bool:
    """Whether no voxel of the grid moves by more than `_SAME` voxels."""
    reach = np.array([*grid.shape[::-1], 1.0])
    return bool((np.abs(change - np.eye(4))[:3] @ reach).max() < _SAME)


def _sampled(volume: Volume, grid: Geometry, shift: Triple, fill: float) -> Float32:
    """Values at the voxels of a grid, each moved by a part of a voxel, D, H, W."""
    from scipy import ndimage  # slow to load and rarely needed

    matrix, offset = old_index(volume.affine, grid.affine, shift)
    array = ndimage.affine_transform(
        np.asarray(volume.array, np.float32), matrix, offset, grid.shape, order=1, mode="nearest"
    )
    indices = np.ogrid[tuple(slice(side) for side in grid.shape)]
    for axis, side in enumerate(volume.array.shape):
        place = sum((matrix[axis, i] * indices[i] for i in range(3)), start=offset[axis])
        array[np.broadcast_to((place < -0.5) | (place > side - 0.5), grid.shape)] = fill
    return np.asarray(array, np.float32)
