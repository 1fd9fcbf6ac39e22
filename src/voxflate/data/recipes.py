"""Recipes: which steps, in which order, turn a kind of scan into training volumes.

To add a recipe: write a function (grids of the cohort, shape) -> list of steps and add it to `RECIPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxflate.data.shapes import Shape
from voxflate.data.steps import Step, fit_depth, resample_box, rescale_percentiles, resize_in_plane, window_hu
from voxflate.data.volume import Geometry, Triple
from voxflate.errors import VoxflateError

Recipe = Callable[[Sequence[Geometry], Shape], list[Step]]

PERCENTILES = {"low": 0.1, "high": 99.9}
"""MR intensities have no unit; these percentiles of a volume become -1 and 1."""

CORONARY_WINDOW = {"low": -250.0, "high": 650.0}
"""Hounsfield units that become -1 and 1 (Sec. 4.2.1)."""


def mr(grids: Sequence[Geometry], shape: Shape) -> list[Step]:
    """MR scans: percentiles to [-1, 1], one physical box for the whole cohort, resized to the shape.

    The box is as large as the largest scan along each axis, so nothing is cut off and all volumes have one
    voxel size; its sides, and so the voxels, may differ between the axes.
    """
    return [
        Step(rescale_percentiles, PERCENTILES),
        Step(resample_box, {"box": common_box(grids), "shape": shape}),
    ]


def adni(grids: Sequence[Geometry], shape: Shape) -> list[Step]:
    """Skull-stripped brains as in the paper's ADNI set: as `mr`, but padded to a physical cube first.

    A cube (256 slices each way in the paper) keeps the brain's proportions at a cubic shape.
    """
    side = max(common_box(grids))
    return [
        Step(rescale_percentiles, PERCENTILES),
        Step(resample_box, {"box": (side, side, side), "shape": shape}),
    ]


def ct(grids: Sequence[Geometry], shape: Shape) -> list[Step]:
    """CT scans in general: the coronary window to [-1, 1], one physical box for the cohort, resized."""
    return [
        Step(window_hu, CORONARY_WINDOW),
        Step(resample_box, {"box": common_box(grids), "shape": shape}),
    ]


def coca(grids: Sequence[Geometry], shape: Shape) -> list[Step]:
    """Coronary CT as in the paper: window, in-plane bilinear resize, a run of slices or padding (Sec. 4.2.1).

    Slices keep their thickness, and the field of view is not made equal, so voxel sizes differ between scans.
    """
    depth, height, width = shape
    return [
        Step(window_hu, CORONARY_WINDOW),
        Step(fit_depth, {"depth": depth}),
        Step(resize_in_plane, {"height": height, "width": width}),
    ]


RECIPES: dict[str, Recipe] = {"mr": mr, "adni": adni, "ct": ct, "coca": coca}

CT_RECIPES = ("ct", "coca")
"""Recipes whose window is in Hounsfield units: they refuse a scan that says it is something else."""


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
