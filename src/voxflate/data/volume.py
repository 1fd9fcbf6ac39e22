"""A volume and its position in world space. The one place that knows about axis orders.

A NIfTI file stores its first axis fastest, so its array [I, J, K] read backwards, [K, J, I], is the same
bytes in C order. Every array here is in this reversed order, and every affine in the file's order:
`affine @ (w, h, d, 1)` is the world position (mm, RAS+: x to the right, y to the front, z up) of
`array[d, h, w]`. After `to_ras` the axes [D, H, W] are (S, A, R): up, to the front, to the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Voxels = npt.NDArray[np.integer[Any] | np.floating[Any]]
Triple = tuple[float, float, float]

# nibabel says that it is typed, but these functions are not.
_turning: Any = nib.orientations


@dataclass(frozen=True)
class Geometry:
    """A grid of voxels in the world.

    Attributes:
        shape: (D, H, W), voxels.
        affine: 4x4, index (w, h, d, 1) -> world (x, y, z, 1) in mm, RAS+.
        note: A remark of the reader on a file with an odd position or orientation, for people; usually empty.
    """

    shape: tuple[int, int, int]
    affine: Float64
    note: str = ""

    @cached_property
    def spacing(self) -> Triple:
        """Voxel sides in mm, in the order D, H, W."""
        width, height, depth = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return depth, height, width

    @property
    def extent(self) -> Triple:
        """Side lengths of the box that the voxels fill, mm, in the order D, H, W."""
        depth, height, width = (n * mm for n, mm in zip(self.shape, self.spacing, strict=True))
        return depth, height, width

    @property
    def centre(self) -> Float64:
        """World position of the centre of the box, mm, (x, y, z)."""
        middle = (np.array(self.shape[::-1], np.float64) - 1) / 2
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    def world(self, index: Triple) -> Float64:
        """World position (x, y, z) in mm of the array index (d, h, w)."""
        depth, height, width = index
        return (self.affine @ (width, height, depth, 1.0))[:3]

    def to_ras(self) -> Geometry:
        """The same grid with its axes in the order and direction of `to_ras`."""
        return self._turned(_orientation(self.affine))

    def _turned(self, order: Float64) -> Geometry:
        """The grid with its axes reordered and flipped as `_orientation` says."""
        file_shape = self.shape[::-1]
        affine = self.affine @ _turn_of(order.tobytes(), file_shape)
        turned = [0, 0, 0]
        for axis, target in enumerate(order[:, 0].astype(int)):
            turned[target] = file_shape[axis]
        return Geometry((turned[2], turned[1], turned[0]), affine)

    def regrid(self, shape: tuple[int, int, int], start: Triple, step: Triple) -> Geometry:
        """A grid along the same axes whose voxel j lies at index start + j * step of this one.

        Args:
            shape: (D, H, W) of the new grid.
            start: Index of the new first voxel's centre in this grid, D, H, W; fractions are allowed.
            step: New voxel sides in voxels of this grid, D, H, W.

        Returns:
            The new grid; world positions are kept.
        """
        change = np.diag([*step[::-1], 1.0])
        change[:3, 3] = start[::-1]
        return Geometry(shape, self.affine @ change)


@dataclass(frozen=True)
class Volume:
    """Voxel values and their grid.

    Attributes:
        array: [D, H, W]; in the source's units until a step rescales it to [-1, 1]. float32, but integers of
            at most 16 bits in a file keep their type until a step computes with them.
        affine: 4x4, index (w, h, d, 1) -> world mm; see the module's docstring.
        intensity: The source values that became -1 and 1, or None before that.
        clipped: Shares of the voxels that were below and above a window of Hounsfield units, and were clipped
            to its ends; None without a window.
    """

    array: Voxels
    affine: Float64
    intensity: tuple[float, float] | None = None
    clipped: tuple[float, float] | None = None

    @property
    def geometry(self) -> Geometry:
        """The grid of the voxels."""
        depth, height, width = self.array.shape
        return Geometry((depth, height, width), self.affine)


def to_ras(volume: Volume) -> Volume:
    """Reorient a volume so that [D, H, W] points up, to the front and to the right.

    Voxels are moved, not resampled. An oblique volume keeps its obliqueness in the affine: each array axis is
    assigned to the nearest world axis.

    Args:
        volume: In any of the 48 orientations.

    Returns:
        The same voxels at the same world positions. A second call changes nothing.
    """
    order = _orientation(volume.affine)
    turned = _turning.apply_orientation(volume.array.T, order).T
    return Volume(np.ascontiguousarray(turned), volume.geometry._turned(order).affine, volume.intensity)


def _orientation(affine: Float64) -> Float64:
    """For each file axis, the world axis it follows and its direction (1 or -1), [3, 2]."""
    return _orientation_of(affine[:3, :3].tobytes())


@lru_cache
def _orientation_of(axes: bytes) -> Float64:
    """Cached, because scans of a cohort mostly have the same axes, and each is needed more than once."""
    affine = np.eye(4)
    affine[:3, :3] = np.frombuffer(axes).reshape(3, 3)
    order = np.asarray(_turning.io_orientation(affine))
    order.setflags(write=False)
    return order


@lru_cache
def _turn_of(order: bytes, file_shape: tuple[int, int, int]) -> Float64:
    """Index after reorientation -> index before, 4x4; cached for the same reason."""
    turn = np.asarray(_turning.inv_ornt_aff(np.frombuffer(order).reshape(3, 2), file_shape), np.float64)
    turn.setflags(write=False)
    return turn


def assumed_affine(orientation: str, sides: Sequence[float]) -> Float64:
    """Make an affine for a file without orientation from the orientation that the user gives.

    Args:
        orientation: Three letters, where each file axis points to: "RAS" is right, anterior, superior.
        sides: Voxel sides along the file axes, mm.

    Returns:
        4x4, file index -> world mm, RAS+; the first voxel lies at 0.

    Raises:
        VoxflateError: If these are not the letters of three different axes.
    """
    try:
        order = np.asarray(_turning.axcodes2ornt(tuple(orientation.upper())))
        if order.shape != (3, 2) or len(set(order[:, 0])) < 3 or np.isnan(order).any():
            raise ValueError
    except ValueError as error:
        raise VoxflateError(
            f"--assume {orientation}: expected three letters, one each of R or L, A or P, S or I, such as RAS"
        ) from error
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, (target, direction) in enumerate(order):
        affine[int(target), axis] = direction * sides[axis]
    return affine
