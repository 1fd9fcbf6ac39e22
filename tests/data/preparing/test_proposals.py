import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxflate.data.preparing.proposals import propose
from voxflate.data.preparing.recipes import RecipeOptions
from voxflate.data.shapes import LARGEST_BASE, shape_of
from voxflate.data.volume import Geometry


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Geometry:
    return Geometry(shape, np.diag([*spacing[::-1], 1.0]))


sizes = st.tuples(*[st.integers(2, 600)] * 3)
sides = st.tuples(*[st.floats(0.3, 10)] * 3)


@given(
    st.lists(st.tuples(sizes, sides), min_size=1, max_size=4), st.sampled_from(["mr", "adni", "ct", "coca"])
)
def test_every_proposal_is_a_shape_that_a_network_can_make(grids: list, recipe: str) -> None:
    found = propose([grid(*one) for one in grids], recipe, RecipeOptions())
    assert found
    for one in found:
        assert one.shape == shape_of(one.base, one.stages)
        assert 1 <= min(one.base) <= max(one.base) <= LARGEST_BASE
        assert np.prod(one.spacing) * np.prod(one.shape) == pytest.approx(np.prod(one.field_of_view))
    assert len({one.shape for one in found}) == len(found)


def test_brains_of_two_millimetres_get_cubes_down_to_their_own_voxels() -> None:
    found = propose([grid((80, 96, 80), (2, 2, 2))], "adni", RecipeOptions())
    assert [one.shape[0] for one in found] == [16, 24, 32, 48, 64, 96]
    assert all(len(set(one.shape)) == 1 and one.field_of_view == (192, 192, 192) for one in found)
    assert found[-1].spacing == (2, 2, 2)


def test_thick_slices_give_a_flat_shape_and_the_paper_s_comes_out() -> None:
    found = propose([grid((32, 512, 512), (3, 0.5, 0.5))], "coca", RecipeOptions())
    assert (32, 64, 64) in [one.shape for one in found]
    flat = propose([grid((10, 256, 256), (5, 1, 1))], "mr", RecipeOptions())
    assert all(one.shape[0] <= 16 < one.shape[1] for one in flat if one.shape[1] > 16)
