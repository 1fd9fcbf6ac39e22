"""Volume shapes that a network can make: a small base, doubled along every axis at each later stage.

All shapes are (D, H, W) in voxels. `stages` counts the base, so shape = base * 2 ** (stages - 1).
"""

from __future__ import annotations

import math

from voxflate._system.errors import VoxflateError

Shape = tuple[int, int, int]

LARGEST_BASE = 8
"""Largest base side. A larger base has too few halvings to learn from coarse to fine."""


def shape_of(base: Shape, stages: int) -> Shape:
    """The volume shape of a network.

    >>> shape_of((2, 4, 4), 4)
    (16, 32, 32)
    """
    depth, height, width = (side * 2 ** (stages - 1) for side in base)
    return depth, height, width


def nearest_shape(shape: Shape) -> Shape:
    """The closest shape, axis by axis, that is a base of at most 8 voxels times a power of two.

    >>> nearest_shape((30, 60, 70))
    (32, 64, 64)
    """
    if min(shape) >= 1 and max(_halve(shape)[0]) <= LARGEST_BASE:
        return shape
    doublings = max(0, math.floor(math.log2(max(max(shape), 4) / 4)))
    step = 2**doublings
    # Not round(): it rounds halves to even, so 2.5 steps would shrink and 3.5 grow.
    depth, height, width = (max(1, math.floor(side / step + 0.5)) * step for side in shape)
    return depth, height, width


def split_shape(shape: Shape) -> tuple[Shape, int]:
    """Split a shape into the base and the number of stages that give it.

    Every axis is halved until the longest side of the base is 4 or a side is odd. This gives the paper's
    bases: 2x4x4 for 32x64x64, 4x4x4 for 64x64x64, 1x4x4 for 32x128x128 (Secs. 4.2.2 and 4.5).

    Args:
        shape: (D, H, W), voxels.

    Returns:
        Base (D, H, W), and stages, the base included.

    Raises:
        VoxflateError: If the shape is not a small base times a power of two; suggests the nearest.

    >>> split_shape((16, 32, 32))
    ((2, 4, 4), 4)
    """
    if min(shape) < 1 or max(shape) < 4:
        raise VoxflateError(f"shape {_text(shape)} is too small: the longest side must be 4 voxels or more")
    base, stages = _halve(shape)
    if max(base) > LARGEST_BASE:
        raise VoxflateError(
            f"shape {_text(shape)} is not a base of at most {LARGEST_BASE} voxels times a power of two; "
            f"the nearest that is: {_text(nearest_shape(shape))}"
        )
    return base, stages


def check_shape(shape: Shape, base: Shape, stages: int) -> None:
    """Check that a network with this base and these stages makes volumes of this shape.

    Args:
        shape: (D, H, W) of the data, voxels.
        base: (D, H, W) of the network's first stage, voxels.
        stages: Number of stages, the base included.

    Raises:
        VoxflateError: If shape is not base * 2 ** (stages - 1). Suggests a base and stages that fit or, if
            there are none, the nearest shape that this base can make. The caller puts the data's name
            before the message.
    """
    if shape == shape_of(base, stages):
        return
    if shape == nearest_shape(shape):
        fitting_base, fitting_stages = split_shape(shape)
        sides = ",".join(map(str, fitting_base))
        proposal = f"set network.base={sides} and network.stages={fitting_stages}"
    else:
        doublings = max(0, round(math.log2(math.prod(shape) / math.prod(base)) / 3))
        nearest = _text(shape_of(base, doublings + 1))
        proposal = f"prepare the scans again at {nearest} and set network.stages={doublings + 1}"
    raise VoxflateError(
        f"its volumes are {_text(shape)}, the network makes {_text(shape_of(base, stages))} "
        f"(base {_text(base)}, {stages} stages); {proposal}"
    )


def _halve(shape: Shape) -> tuple[Shape, int]:
    """Halve until the longest side is 4 or less or a side is odd; return the rest and the stages."""
    base, stages = shape, 1
    while max(base) > 4 and all(side % 2 == 0 for side in base):
        base, stages = (base[0] // 2, base[1] // 2, base[2] // 2), stages + 1
    return base, stages


def _text(shape: Shape) -> str:
    return "x".join(str(side) for side in shape)
