"""Recipes: which steps, in which order, turn a kind of scan into training volumes.

To add a recipe: write a function (grids of the cohort, shape, options) -> list of steps and add it to
`RECIPES`, and to `CT_RECIPES` if it reads Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.preparing.steps import (
    Step,
    crop_foreground,
    fit_depth,
    resample_box,
    rescale_percentiles,
    resize_in_plane,
    window_hu,
)
from voxflate.data.shapes import Shape
from voxflate.data.volume import Geometry, Triple

BOXES = {"largest": 100.0, "percentile": 75.0, "common": 0.0}
"""Name -> percentile of the scans' sides that the box has along each axis."""

CROP_MARGIN = 5.0
"""What a foreground crop keeps around the foreground, mm."""


@dataclass(frozen=True)
class RecipeOptions:
    """What a user may choose about a recipe's steps.

    Attributes:
        window: Hounsfield units that become -1 and 1; those of the paper if not given (Sec. 4.2.1).
        percentiles: Percentiles of a volume that become -1 and 1, for intensities without a unit.
        crop: Cut every scan down to its foreground before the cohort's box is chosen.
        box: One of `BOXES`: how large the box is that all scans of a cohort are cut or padded to.
    """

    window: tuple[float, float] = (-250.0, 650.0)
    percentiles: tuple[float, float] = (0.1, 99.9)
    crop: bool = False
    box: str = "largest"

    def check(self, recipe: str) -> None:
        """Refuse values that make no sense, or that the recipe does not read.

        Raises:
            VoxflateError: Names the option and what fits.
        """
        defaults = RecipeOptions()
        window, percentiles = self.window, self.percentiles
        if self.box not in BOXES:
            raise VoxflateError(f"--box {self.box}: choose one of {', '.join(BOXES)}")
        if not window[0] < window[1]:
            raise VoxflateError(
                f"--window {window[0]:g},{window[1]:g}: expected LOW,HIGH with LOW below HIGH"
            )
        if not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise VoxflateError(
                f"--percentiles {percentiles[0]:g},{percentiles[1]:g}: expected LOW,HIGH with "
                "0 <= LOW < HIGH <= 100"
            )
        foreign = {
            "--window": window != defaults.window and recipe != "ct",
            "--percentiles": percentiles != defaults.percentiles and recipe in CT_RECIPES,
            "--crop": self.crop and recipe == "coca",
            "--box": self.box != defaults.box and recipe == "coca",
        }
        for option, wrong in foreign.items():
            if wrong:
                raise VoxflateError(f"{option} is not for --recipe {recipe}, but for {_FITTING[option]}")


_FITTING = {
    "--window": "ct",
    "--percentiles": "mr or adni",
    "--crop": "mr, adni or ct",
    "--box": "mr, adni or ct",
}

Recipe = Callable[[Sequence[Geometry], Shape, RecipeOptions], list[Step]]


def mr(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """MR scans: percentiles to [-1, 1], one physical box for the whole cohort, resized to the shape.

    The box is as large as the largest scan along each axis unless another is asked for, so nothing is cut off
    and all volumes have one voxel size; its sides, and so the voxels, may differ between the axes.
    """
    return [
        _percentiles(options),
        Step(resample_box, {"box": cohort_box(grids, options.box), "shape": shape}),
    ]


def adni(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """Skull-stripped brains as in the paper's ADNI set: as `mr`, but padded to a physical cube first.

    A cube (256 slices each way in the paper) keeps the brain's proportions at a cubic shape.
    """
    side = max(cohort_box(grids, options.box))
    return [_percentiles(options), Step(resample_box, {"box": (side, side, side), "shape": shape})]


def ct(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """CT scans in general: a window to [-1, 1], one physical box for the cohort, resized."""
    return [_window(options), Step(resample_box, {"box": cohort_box(grids, options.box), "shape": shape})]


def coca(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """Coronary CT as in the paper: window, in-plane bilinear resize, a run of slices or padding (Sec. 4.2.1).

    Slices keep their thickness, and the field of view is not made equal, so voxel sizes differ between scans.
    """
    depth, height, width = shape
    return [
        _window(options),
        Step(fit_depth, {"depth": depth}),
        Step(resize_in_plane, {"height": height, "width": width}),
    ]


RECIPES: dict[str, Recipe] = {"mr": mr, "adni": adni, "ct": ct, "coca": coca}

CT_RECIPES = ("ct", "coca")
"""Recipes whose window is in Hounsfield units: they refuse a scan that says it is something else."""


def cropping(options: RecipeOptions) -> list[Step]:
    """Steps before a recipe's own; they decide which grids the recipe is told of."""
    return [Step(crop_foreground, {"margin": CROP_MARGIN})] if options.crop else []


def cohort_box(grids: Sequence[Geometry], box: str = "largest") -> Triple:
    """The box that every scan of the cohort is cut or padded to about its own middle, mm, D, H, W.

    Args:
        grids: Turned by `to_ras`; at least one.
        box: One of `BOXES`: the largest extent along each axis, the one that three quarters of the scans stay
            below, or the smallest, which all scans fill.
    """
    sides = np.percentile([grid.extent for grid in grids], BOXES[box], axis=0)
    depth, height, width = (round(float(side), 6) for side in sides)
    return depth, height, width


def find_recipe(name: str) -> Recipe:
    """Look a recipe up.

    Raises:
        VoxflateError: If there is none of this name; lists those there are.
    """
    if name not in RECIPES:
        raise VoxflateError(f"no recipe is called {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _percentiles(options: RecipeOptions) -> Step:
    """MR intensities have no unit (decision 0016)."""
    low, high = options.percentiles
    return Step(rescale_percentiles, {"low": low, "high": high})


def _window(options: RecipeOptions) -> Step:
    low, high = options.window
    return Step(window_hu, {"low": low, "high": high})
