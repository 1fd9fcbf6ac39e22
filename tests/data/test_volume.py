from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxflate.data.volume import Geometry, Volume, to_ras

ORIENTATIONS = ["".join(letters) for axes in permutations(("RL", "AP", "SI")) for letters in product(*axes)]


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any of the 48 orientations, uneven spacing, up to about 20 degrees oblique, distinct voxel values."""
    shape = tuple(draw(st.integers(2, 5)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turn, _ = np.linalg.qr(np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3)))
    turn *= np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(0.5, 4, 3)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    codes = draw(st.sampled_from(ORIENTATIONS))
    target = nib.orientations.axcodes2ornt(codes)
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    change = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), target)
    turned = nib.orientations.apply_orientation(array, change)
    affine = affine @ nib.orientations.inv_ornt_aff(change, shape)
    assert nib.aff2axcodes(affine) == tuple(codes)
    return Volume(turned.T, affine)


@given(volumes())
def test_turning_twice_is_turning_once(volume: Volume) -> None:
    once = to_ras(volume)
    twice = to_ras(once)
    np.testing.assert_array_equal(twice.array, once.array)
    np.testing.assert_array_equal(twice.affine, once.affine)


@given(volumes())
def test_every_voxel_keeps_its_world_position(volume: Volume) -> None:
    turned = to_ras(volume)
    for index in np.ndindex(volume.array.shape):
        (new,) = np.argwhere(turned.array == volume.array[index])
        np.testing.assert_allclose(turned.geometry.world(new), volume.geometry.world(index), atol=1e-9)


@given(volumes())
def test_axes_go_up_to_the_front_and_to_the_right(volume: Volume) -> None:
    grid = to_ras(volume).geometry
    start = grid.world((0, 0, 0))
    assert grid.world((1, 0, 0))[2] > start[2]
    assert grid.world((0, 1, 0))[1] > start[1]
    assert grid.world((0, 0, 1))[0] > start[0]
    assert nib.aff2axcodes(grid.affine) == ("R", "A", "S")


@given(volumes())
def test_the_grid_alone_turns_like_the_volume(volume: Volume) -> None:
    grid, turned = volume.geometry.to_ras(), to_ras(volume).geometry
    assert grid.shape == turned.shape
    np.testing.assert_array_equal(grid.affine, turned.affine)


@given(volumes())
def test_turning_leaves_the_input_alone(volume: Volume) -> None:
    before = volume.array.copy()
    to_ras(volume).array[:] = -1
    np.testing.assert_array_equal(volume.array, before)


def test_spacing_extent_and_centre_are_in_the_order_of_the_array() -> None:
    grid = Geometry((2, 3, 4), np.diag([10.0, 20.0, 30.0, 1.0]))
    assert grid.spacing == (30, 20, 10)
    assert grid.extent == (60, 60, 40)
    assert grid.centre == pytest.approx((15, 20, 15))
    assert grid.world((1, 2, 3)) == pytest.approx((30, 40, 30))


def test_a_regrid_keeps_world_positions() -> None:
    grid = Geometry((4, 4, 4), np.diag([1.0, 2.0, 3.0, 1.0]))
    new = grid.regrid((2, 2, 2), start=(0.5, 1, 1.5), step=(2, 1, 0.5))
    assert new.world((1, 1, 1)) == pytest.approx(grid.world((2.5, 2, 2)))
