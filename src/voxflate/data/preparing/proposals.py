"""Proposes volume shapes for a cohort: proportional to its field of view, and no finer than the scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxflate.data.preparing.recipes import RecipeOptions, find_recipe
from voxflate.data.shapes import LARGEST_BASE, Shape, split_shape
from voxflate.data.volume import Geometry, Triple

LONGEST = tuple(sorted(base * 2**doublings for base in (4, 6) for doublings in range(2, 6)))
"""Lengths tried for the longest axis: 16, 24, 32, ... 128, 192 voxels."""

_FAR = 1.3
"""Largest ratio between an axis' number of voxels and the number that gives cubic voxels."""

_MUCH_FINER = 2.0
"""Shapes are left out if an axis gets this many times the wanted number of voxels."""

_FINER = 1.25
"""Voxels may be this many times smaller than the scans'; below that there is nothing to learn."""


@dataclass(frozen=True)
class Proposal:
    """A proposed shape, and the network and field of view that follow from it.

    Attributes:
        base: (D, H, W) of the network's first stage.
        stages: Stages of the network, the base included.
        shape: (D, H, W), voxels.
        field_of_view: Sides of a volume, mm, D, H, W.
    """

    base: Shape
    stages: int
    shape: Shape
    field_of_view: Triple

    @property
    def spacing(self) -> Triple:
        """Voxel sides, mm, D, H, W."""
        depth, height, width = (mm / n for mm, n in zip(self.field_of_view, self.shape, strict=True))
        return depth, height, width


def propose(grids: Sequence[Geometry], recipe: str, options: RecipeOptions) -> list[Proposal]:
    """Shapes for a cohort, coarse to fine; at least one.

    Every axis gets the number of voxels that gives cubes, but no more than the scans have: thick slices give
    a flat shape. Each shape is a base of at most 8 voxels per side times a power of two.

    Args:
        grids: Grids of the scans, reoriented to RAS.
        recipe: Name of the recipe, which decides on the field of view.
        options: Options of the recipe.
    """
    box, slices = _field_of_view(grids, recipe, options)
    own = np.median([grid.spacing for grid in grids], axis=0).tolist()
    resized = box[1:] if slices else box  # the recipe coca keeps slices as they are
    finest = own[box.index(max(resized))]
    found: dict[Shape, Proposal] = {}
    for longest in LONGEST:
        side = max(resized) / longest
        if found and side * _FINER < finest:
            break
        wanted = [mm / max(side, least) for mm, least in zip(box, own, strict=True)]
        if slices:
            wanted[0] = slices
        shape = _shape(longest, wanted)
        if found and any(n > _MUCH_FINER * w for n, w in zip(shape, wanted, strict=True)):
            continue
        base, stages = split_shape(shape)
        depth = shape[0] * own[0] if slices else box[0]
        found.setdefault(shape, Proposal(base, stages, shape, (depth, *box[1:])))
    return list(found.values())


def _field_of_view(grids: Sequence[Geometry], recipe: str, options: RecipeOptions) -> tuple[Triple, int]:
    """Sides of the cohort's box, mm; and, if slices are kept, the number of slices per scan, else 0."""
    for step in find_recipe(recipe)(grids, (4, 4, 4), options):
        if "box" in step.settings:
            return step.settings["box"], 0
    depth, height, width = np.median([grid.extent for grid in grids], axis=0).tolist()
    return (depth, height, width), int(np.median([grid.shape[0] for grid in grids]))


def _shape(longest: int, wanted: Sequence[float]) -> Shape:
    """The shape closest to the wanted numbers of voxels with `longest` on its longest axis.

    The base is as coarse as possible, so that the network learns coarse to fine; it is finer only if an axis
    would be far from the wanted number.
    """
    step = 1
    while longest // step > 6 and longest % (2 * step) == 0:
        step *= 2
    coarse, fine = (
        tuple(min(max(1, round(n / one)), LARGEST_BASE) * one for n in wanted) for one in (step, step // 2)
    )
    far = max(max(n / w, w / n) for n, w in zip(coarse, wanted, strict=True)) > _FAR
    depth, height, width = fine if far and max(fine) == longest else coarse
    return depth, height, width
