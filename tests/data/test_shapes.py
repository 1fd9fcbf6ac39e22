import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxflate._system.errors import VoxflateError
from voxflate.data.shapes import check_shape, nearest_shape, shape_of, split_shape

shapes = st.tuples(*[st.integers(4, 300)] * 3)


@pytest.mark.parametrize(
    ("shape", "base", "stages"),
    [
        ((32, 64, 64), (2, 4, 4), 5),
        ((64, 64, 64), (4, 4, 4), 5),
        ((32, 128, 128), (1, 4, 4), 6),
        ((16, 32, 32), (2, 4, 4), 4),
        ((80, 96, 80), (5, 6, 5), 5),
    ],
)
def test_the_papers_bases_come_out(
    shape: tuple[int, int, int], base: tuple[int, int, int], stages: int
) -> None:
    assert split_shape(shape) == (base, stages)
    check_shape(shape, base, stages)


@given(shapes)
def test_a_shape_is_taken_apart_without_loss_or_its_nearest_is_proposed(shape: tuple[int, int, int]) -> None:
    refusal = ""
    try:
        assert shape_of(*split_shape(shape)) == shape
    except VoxflateError as error:
        refusal = str(error)
    if refusal:
        proposal = nearest_shape(shape)
        assert "x".join(map(str, proposal)) in refusal
        assert shape_of(*split_shape(proposal)) == proposal


@given(shapes)
def test_the_nearest_of_a_nearest_shape_is_itself(shape: tuple[int, int, int]) -> None:
    assert nearest_shape(nearest_shape(shape)) == nearest_shape(shape)


@given(shapes)
def test_the_nearest_shape_is_near(shape: tuple[int, int, int]) -> None:
    for side, near in zip(shape, nearest_shape(shape), strict=True):
        assert abs(side - near) <= max(shape) / 8 or near == nearest_shape((max(shape), 4, 4))[1]


def test_a_network_that_makes_another_shape_is_told_what_to_change() -> None:
    with pytest.raises(
        VoxflateError,
        match=r"its volumes are 30x60x60, the network makes 16x32x32 \(base 2x4x4, 4 stages\); "
        r"prepare the scans again at 32x64x64 and set network.stages=5",
    ):
        check_shape((30, 60, 60), (2, 4, 4), 4)
    with pytest.raises(VoxflateError, match=r"set network.base=4,4,4 and network.stages=5"):
        check_shape((64, 64, 64), (2, 4, 4), 5)


@given(shapes)
def test_what_is_proposed_to_a_network_fits(shape: tuple[int, int, int]) -> None:
    with pytest.raises(VoxflateError) as caught:
        check_shape(shape, (1, 1, 1), 1)
    text = str(caught.value)
    if found := re.search(r"network.base=(\d+),(\d+),(\d+) and network.stages=(\d+)", text):
        *base, stages = map(int, found.groups())
        assert shape_of((base[0], base[1], base[2]), stages) == shape
    else:
        assert "prepare the scans again" in text


@pytest.mark.parametrize("shape", [(0, 32, 32), (2, 2, 2), (-16, 32, 32)])
def test_tiny_shapes_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(VoxflateError, match="too small"):
        split_shape(shape)
