"""Smooth random fields and deformations over a cube, the field of view.

A field is an array [D, H, W] that fills the cube at any voxel size. Positions are in millimetres from the
corner of the cube, [3, ...], components in the order D, H, W, like displacements and velocities.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from voxflate.data.shapes import Shape
from voxflate.data.volume import Float64

FIELD_OF_VIEW = 200.0
"""Side of the cube around a brain, mm."""


def centres(shape: Shape) -> Float64:
    """Positions of the voxel centres, mm, [3, D, H, W]."""
    sides = np.array(shape).reshape(3, 1, 1, 1)
    return np.asarray((np.indices(shape) + 0.5) * (FIELD_OF_VIEW / sides))


def sample(field: npt.NDArray[np.floating], places: Float64) -> Float64:
    """Interpolate a field [D, H, W] linearly at positions [3, ...]; outside, its border values continue."""
    sides = np.array(field.shape).reshape(3, *[1] * (places.ndim - 1))
    where = places * (sides / FIELD_OF_VIEW) - 0.5
    return np.asarray(ndimage.map_coordinates(field, where, np.float64, order=1, mode="nearest"))


def exponential(velocity: Float64, squarings: int = 6) -> Float64:
    """Integrate a stationary velocity over unit time to a diffeomorphism, by scaling and squaring.

    Args:
        velocity: mm, [3, D, H, W].
        squarings: The first step is the velocity divided by 2 to the power of this number.

    Returns:
        Displacement u in mm, [3, D, H, W]: the flow maps x to x + u(x).

    Source: Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", 2006.
    """
    _, depth, height, width = velocity.shape
    start = centres((depth, height, width))
    displacement: Float64 = velocity / 2**squarings
    for _ in range(squarings):
        ahead = start + displacement
        displacement = displacement + np.stack([sample(part, ahead) for part in displacement])
    return displacement


def smooth_noise(rng: np.random.Generator, millimetres: float, deviation: float) -> Float64:
    """A field of Gaussian noise smoothed by a Gaussian filter.

    Args:
        rng: Source of the noise.
        millimetres: Standard deviation of the filter.
        deviation: Standard deviation of the result.

    Returns:
        [24, 24, 24] over the field of view.
    """
    side = 24
    noise = ndimage.gaussian_filter(
        rng.standard_normal((side, side, side)), millimetres / FIELD_OF_VIEW * side
    )
    return np.asarray(noise * (deviation / noise.std()))
