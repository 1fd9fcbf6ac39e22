"""Recipes: the steps that turn a kind of scan into training volumes, in order.

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
"""Name -> percentile of the scans' sides that gives the box's side along each axis."""

FARTHEST_HU = 32767.0
"""Largest Hounsfield unit of a window, either side of 0; scanners store 16 bits."""

CROP_MARGIN = 5.0
"""Margin that a crop keeps around the foreground, mm."""


@dataclass(frozen=True)
class RecipeOptions:
    """Options of a recipe's steps.

    Attributes:
        window: Hounsfield units that become -1 and 1; by default the paper's (Sec. 4.2.1).
        percentiles: Percentiles of a volume that become -1 and 1, for intensities without a unit.
        crop: Crop every scan to its foreground before the cohort's box is chosen.
        box: One of `BOXES`: size of the box to which all scans of a cohort are cut or padded.
    """

    window: tuple[float, float] = (-250.0, 650.0)
    percentiles: tuple[float, float] = (0.1, 99.9)
    crop: bool = False
    box: str = "largest"

    def check(self, recipe: str) -> None:
        """Refuse invalid values, and options that the recipe does not use.

        Raises:
            VoxflateError: Names the option and what is allowed.
        """
        defaults = RecipeOptions()
        window, percentiles = self.window, self.percentiles
        if self.box not in BOXES:
            raise VoxflateError(f"--box {self.box}: choose one of {', '.join(BOXES)}")
        if not -FARTHEST_HU <= window[0] < window[1] <= FARTHEST_HU:
            raise VoxflateError(
                f"--window {window[0]:g},{window[1]:g}: expected LOW,HIGH with LOW below HIGH, both from "
                f"{-FARTHEST_HU:g} to {FARTHEST_HU:g} HU"
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
                raise VoxflateError(f"{option} is for --recipe {_FITTING[option]}, not for {recipe}")


_FITTING = {
    "--window": "ct",
    "--percentiles": "mr or adni",
    "--crop": "mr, adni or ct",
    "--box": "mr, adni or ct",
}

Recipe = Callable[[Sequence[Geometry], Shape, RecipeOptions], list[Step]]


def mr(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """MR scans: percentiles to [-1, 1], one physical box for the whole cohort, resized to the shape.

    By default the box is as large as the largest scan along each axis, so that nothing is cut off. All
    volumes have the same voxel size; the sides of the box, and so of the voxels, may differ between the axes.
    """
    return [
        _percentiles(options),
        Step(resample_box, {"box": cohort_box(grids, options.box), "shape": shape}),
    ]


def adni(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """Skull-stripped brains as in the paper's ADNI set: as `mr`, but padded to a physical cube first.

    A cube (256 slices in each direction in the paper) keeps the brain's proportions in a cubic shape.
    """
    side = max(cohort_box(grids, options.box))
    return [_percentiles(options), Step(resample_box, {"box": (side, side, side), "shape": shape})]


def ct(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """CT scans in general: a window to [-1, 1], one physical box for the cohort, resized."""
    return [_window(options), Step(resample_box, {"box": cohort_box(grids, options.box), "shape": shape})]


def coca(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """Coronary CT as in the paper: window, in-plane bilinear resize, a run of slices or padding (Sec. 4.2.1).

    Slices keep their thickness and scans their field of view, so voxel sizes differ between scans.
    """
    depth, height, width = shape
    return [
        _window(options),
        Step(fit_depth, {"depth": depth}),
        Step(resize_in_plane, {"height": height, "width": width}),
    ]


RECIPES: dict[str, Recipe] = {"mr": mr, "adni": adni, "ct": ct, "coca": coca}

CT_RECIPES = ("ct", "coca")
"""Recipes whose window is in Hounsfield units: they refuse scans that are declared as something else."""


def cropping(options: RecipeOptions) -> list[Step]:
    """Steps before a recipe's own; they change the grids that the recipe gets."""
    return [Step(crop_foreground, {"margin": CROP_MARGIN})] if options.crop else []


def cohort_box(grids: Sequence[Geometry], box: str = "largest") -> Triple:
    """The box to which every scan of the cohort is cut or padded around its centre, mm, D, H, W.

    Args:
        grids: Grids after `to_ras`; at least one.
        box: One of `BOXES`: the largest extent along each axis, the 75th percentile, or the smallest, which
            all scans fill.
    """
    sides = np.percentile([grid.extent for grid in grids], BOXES[box], axis=0)
    depth, height, width = (round(float(side), 6) for side in sides)
    return depth, height, width


def find_recipe(name: str) -> Recipe:
    """Look up a recipe.

    Raises:
        VoxflateError: If there is no such recipe; lists the recipes.
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
