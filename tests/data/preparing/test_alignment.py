from typing import Any

import numpy as np
import pytest

from voxflate.data.preparing.alignment import on_grid
from voxflate.data.preparing.masks import agreed_classes
from voxflate.data.volume import Geometry, Volume


def affine_of(*sides: float, angle: float = 0.0, origin: Any = (0, 0, 0)) -> Any:
    affine = np.eye(4)
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    affine[:3, :3] = turn @ np.diag(sides)
    affine[:3, 3] = origin
    return affine


def places(grid: Geometry) -> Any:
    """World positions of all voxels, [D, H, W, 3]."""
    d, h, w = np.indices(grid.shape)
    return np.stack([w, h, d], -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]


@pytest.mark.parametrize("angle", [0.0, 0.4])
@pytest.mark.parametrize("sides", [(1.0, 1.2, 2.0), (3.0, 3.0, 3.0)])
def test_a_linear_field_is_the_same_field_on_any_grid(angle: float, sides: tuple[float, ...]) -> None:
    """Linear interpolation, and averages over a voxel, keep a field that is linear in world space."""
    source = Geometry((20, 44, 44), affine_of(1.5, 1.5, 1.5, angle=angle))
    source.affine[:3, 3] -= source.centre
    slope = np.array([0.3, -0.7, 1.1])
    volume = Volume((places(source) @ slope).astype(np.float32), source.affine)
    grid = Geometry((4, 5, 6), affine_of(*sides, origin=(-8, -6, -5)))
    found = on_grid(volume, grid, 0.0)
    np.testing.assert_allclose(found.array, places(grid) @ slope, atol=1e-3)
    np.testing.assert_array_equal(found.affine, grid.affine)


def test_beyond_the_faces_is_fill_and_up_to_them_the_border() -> None:
    volume = Volume(np.full((3, 3, 3), 5, np.int16), affine_of(2.0, 2.0, 2.0))
    grid = Geometry((1, 1, 10), affine_of(1.0, 1.0, 1.0, origin=(-2.5, 2, 2)))
    # The faces lie at -1 and 5 mm.
    np.testing.assert_array_equal(on_grid(volume, grid, -9).array[0, 0], [-9, -9, 5, 5, 5, 5, 5, 5, -9, -9])


def test_a_coarser_grid_averages_what_it_covers() -> None:
    stripes = np.zeros((4, 4, 12), np.float32)
    stripes[..., ::2] = 1
    volume = Volume(stripes, affine_of(1.0, 1.0, 1.0))
    grid = Geometry((4, 4, 3), affine_of(4.0, 1.0, 1.0, origin=(1.5, 0, 0)))
    np.testing.assert_allclose(on_grid(volume, grid, 0.0).array, 0.5, atol=1e-6)


def test_the_same_grid_is_not_touched() -> None:
    volume = Volume(np.arange(27, dtype=np.uint8).reshape(3, 3, 3), affine_of(2.0, 1.0, 1.0, angle=0.2))
    grid = Geometry((3, 3, 3), volume.affine + 1e-6)
    assert on_grid(volume, grid, 0.0).array is volume.array


def test_classes_that_masks_share_belong_together() -> None:
    one, two, three = frozenset({1, 2}), frozenset({2, 3}), frozenset({9})
    classes, refused = agreed_classes({0: one, 1: two, 2: three, 3: one}, mixed=False)
    assert (classes.values, classes.subjects) == ((1, 2, 3), (2, 3, 1))
    assert refused == {
        2: "has a mask with the labels 9, but 3 of 4 masks have 1, 2, 3 and no mask has labels of both; "
        "correct the mask, or accept all with --mixed"
    }
    classes, refused = agreed_classes({0: one, 2: three}, mixed=True)
    assert (classes.values, refused) == ((1, 2, 9), {})
    assert agreed_classes({}, mixed=False)[0].values == ()
