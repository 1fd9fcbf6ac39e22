"""Recipes: which steps, in which order, turn a kind of scan into training volumes.

To add a recipe: write a function (grids of the cohort, shape, options) -> list of steps and add it to
`RECIPES`, and to `CT_RECIPES` if it reads Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

CROP_MARGIN = 5.0
"""What a foreground crop keeps around the foreground, mm."""


@dataclass(frozen=True)
class RecipeOptions:
    """What a user may choose about a recipe's steps.

    Attributes:
        window: Hounsfield units that become -1 and 1; those of the paper if not given (Sec. 4.2.1).
        percentiles: Percentiles of a volume that become -1 and 1, for intensities without a unit.
        crop: Cut every scan down to its foreground before the cohort's box is chosen.
    """

    window: tuple[float, float] = (-250.0, 650.0)
    percentiles: tuple[float, float] = (0.1, 99.9)
    crop: bool = False

    def check(self, recipe: str) -> None:
        """Refuse values that are none, or that the recipe does not read.

        Raises:
            VoxflateError: Names the option and what fits.
        """
        defaults = RecipeOptions()
        window, percentiles = self.window, self.percentiles
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
        }
        for option, wrong in foreign.items():
            if wrong:
                fitting = {"--window": "ct", "--percentiles": "mr or adni", "--crop": "mr, adni or ct"}[
                    option
                ]
                raise VoxflateError(f"{option} is not for --recipe {recipe}, but for {fitting}")


Recipe = Callable[[Sequence[Geometry], Shape, RecipeOptions], list[Step]]


def mr(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """MR scans: percentiles to [-1, 1], one physical box for the whole cohort, resized to the shape.

    The box is as large as the largest scan along each axis, so nothing is cut off and all volumes have one
    voxel size; its sides, and so the voxels, may differ between the axes.
    """
    return [_percentiles(options), Step(resample_box, {"box": common_box(grids), "shape": shape})]


def adni(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """Skull-stripped brains as in the paper's ADNI set: as `mr`, but padded to a physical cube first.

    A cube (256 slices each way in the paper) keeps the brain's proportions at a cubic shape.
    """
    side = max(common_box(grids))
    return [_percentiles(options), Step(resample_box, {"box": (side, side, side), "shape": shape})]


def ct(grids: Sequence[Geometry], shape: Shape, options: RecipeOptions) -> list[Step]:
    """CT scans in general: a window to [-1, 1], one physical box for the cohort, resized."""
    return [_window(options), Step(resample_box, {"box": common_box(grids), "shape": shape})]


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


def common_box(grids: Sequence[Geometry]) -> Triple:
    """The smallest box that holds every scan of the cohort about its own middle, mm, D, H, W.

    Args:
        grids: Turned by `to_ras`; at least one.
    """
    depth, height, width = (
        round(max(sides), 6) for sides in zip(*(grid.extent for grid in grids), strict=True)
    )
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
