from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxflate._system.errors import VoxflateError
from voxflate.data.datasets import (
    PositionedSliceSampler,
    SliceSampler,
    VolumeSampler,
    likeness_to_mirror,
    slices_with_content,
)
from voxflate.data.prepared import FULL_SCALE, from_stored

counts = st.integers(1, 9)
seeds = st.integers(0, 1000)


def numbered(n: int, depth: int = 3) -> np.ndarray:
    """Every slice holds its own number: 100 * volume + position."""
    numbers = 100 * np.arange(n)[:, None] + np.arange(depth)
    return np.broadcast_to(numbers[:, None, :, None, None], (n, 1, depth, 2, 2)).astype(np.int16)


def read(batch: np.ndarray) -> list[int]:
    """The numbers back from a batch."""
    return np.rint(batch.reshape(len(batch), -1)[:, 0] * 32767).astype(int).tolist()


@given(counts, seeds, st.integers(0, 3))
def test_every_volume_once_per_epoch(n: int, seed: int, epoch: int) -> None:
    sampler = VolumeSampler(numbered(n), seed)
    assert sorted(read(sampler.batch(epoch * n, n))) == [100 * i for i in range(n)]


@given(counts, counts, seeds, st.integers(0, 3))
def test_every_slice_once_per_epoch(n: int, depth: int, seed: int, epoch: int) -> None:
    sampler = SliceSampler(numbered(n, depth), seed)
    seen = read(sampler.batch(epoch * n * depth, n * depth))
    assert sorted(seen) == [100 * i + d for i in range(n) for d in range(depth)]


@given(counts, seeds, st.integers(0, 50), st.lists(st.integers(1, 7), min_size=1, max_size=5))
@pytest.mark.parametrize("kind", [VolumeSampler, SliceSampler])
def test_images_depend_on_the_counter_alone(
    kind: type, n: int, seed: int, first: int, sizes: list[int]
) -> None:
    """However a stretch of the stream is cut into batches, by samplers old or new, it is the same stretch."""
    whole = kind(numbered(n), seed).batch(first, sum(sizes))
    old = kind(numbered(n), seed)
    parts, new_parts = [], []
    for start, size in zip(first + np.cumsum([0, *sizes]), sizes, strict=False):
        parts.append(old.batch(int(start), size))
        new_parts.append(kind(numbered(n), seed).batch(int(start), size))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(np.concatenate(new_parts), whole)
    np.testing.assert_array_equal(old.batch(0, 5), kind(numbered(n), seed).batch(0, 5))  # and back again


@given(
    counts, seeds, st.integers(0, 20), st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 4)
)
def test_groups_depend_on_the_counter_alone(
    n: int, seed: int, first: int, sizes: list[int], group: int
) -> None:
    whole, positions = PositionedSliceSampler(numbered(n), seed, group).batch(
        first * group, sum(sizes) * group
    )
    parts = [
        PositionedSliceSampler(numbered(n), seed, group).batch(int(start) * group, size * group)
        for start, size in zip(first + np.cumsum([0, *sizes]), sizes, strict=False)
    ]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), whole)
    np.testing.assert_array_equal(np.concatenate([where for _, where in parts]), positions)


@given(counts, counts, seeds, st.integers(1, 5), st.integers(0, 20))
def test_a_group_shares_its_position_and_differs_in_the_volume(
    n: int, depth: int, seed: int, group: int, first: int
) -> None:
    images, positions = PositionedSliceSampler(numbered(n, depth), seed, group).batch(
        first * group, 5 * group
    )
    assert images.shape == (5 * group, 1, 2, 2)
    assert positions.dtype == np.int64
    numbers = np.array(read(images))
    np.testing.assert_array_equal(numbers % 100, positions)
    assert (positions.reshape(5, group) == positions.reshape(5, group)[:, :1]).all()
    for members in (numbers // 100).reshape(5, group):
        assert len(set(members)) == min(n, group)


@given(counts, counts, seeds, st.integers(1, 5))
def test_an_epoch_of_groups_visits_positions_equally_and_every_slice(
    n: int, depth: int, seed: int, group: int
) -> None:
    sampler = PositionedSliceSampler(numbered(n, depth), seed, group)
    epoch = -(-n // group) * group * depth
    images, positions = sampler.batch(0, epoch)
    assert set(Counter(positions.tolist()).values()) == {epoch // depth}
    assert set(read(images)) == {100 * i + d for i in range(n) for d in range(depth)}


def test_groups_are_drawn_anew_at_every_position() -> None:
    images, _ = PositionedSliceSampler(numbered(20), 0, group=4).batch(0, 60)
    groups = {frozenset(group) for group in (np.array(read(images)) // 100).reshape(15, 4).tolist()}
    assert len(groups) > 5


def test_seeds_and_epochs_differ() -> None:
    stored = numbered(50)
    orders = [
        read(VolumeSampler(stored, seed).batch(epoch * 50, 50)) for seed in range(3) for epoch in range(3)
    ]
    assert len({tuple(order) for order in orders}) == 9


def test_values_are_those_stored() -> None:
    stored = np.array([-32767, 0, 32767, 16384], np.int16).reshape(1, 1, 1, 2, 2)
    (image,) = SliceSampler(stored, 0).batch(0, 1)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image.ravel(), [-1, 0, 1, 0.50002], atol=1e-5)


@pytest.mark.parametrize("kind", [VolumeSampler, SliceSampler])
def test_no_volumes_are_refused(kind: type) -> None:
    with pytest.raises(VoxflateError, match="nothing to train on"):
        kind(numbered(0), 0)


def test_broken_groups_are_refused() -> None:
    sampler = PositionedSliceSampler(numbered(5), 0, group=4)
    with pytest.raises(VoxflateError, match="whole groups of 4, got 6 images"):
        sampler.batch(0, 6)
    with pytest.raises(VoxflateError, match="at least 1 sample, got 0"):
        PositionedSliceSampler(numbered(5), 0, group=0)


def test_empty_slices_are_left_out_when_asked() -> None:
    stored = np.full((3, 1, 4, 5, 5), -FULL_SCALE, np.int16)
    stored[1, 0, 2, 0, :3] = 0  # 3 of 25 pixels
    stored[2, 0, 0, 0, 0] = 0  # 1 of 25
    assert slices_with_content(stored, 0.1).tolist() == [6]
    assert slices_with_content(stored, 0.03).tolist() == [6, 8]
    assert len(slices_with_content(stored, 0.0)) == 12
    shown = SliceSampler(stored, 0, 0.1).batch(0, 8)
    assert (shown == from_stored(stored[1, :, 2])).all()
    with pytest.raises(VoxflateError, match=r"training.min_content = 0.5: no axial slice"):
        SliceSampler(stored, 0, 0.5)


def test_samples_keep_their_channels_together() -> None:
    stored = np.concatenate([numbered(4), -numbered(4)], axis=1)
    for images in (
        VolumeSampler(stored, 0).batch(0, 4),
        SliceSampler(stored, 0).batch(0, 12),
        PositionedSliceSampler(stored, 0, group=2).batch(0, 12)[0],
    ):
        assert images.shape[1] == 2
        assert (images[:, 0] == -images[:, 1]).all()
        assert len(np.unique(images[:, 0])) > 3


def test_the_likeness_of_a_mean_to_its_mirror_image():
    rng = np.random.default_rng(0)
    one = rng.integers(-1000, 1000, (12, 1, 4, 6, 8)).astype(np.int16)
    one += np.where(np.arange(8) < 4, 20_000, -20_000).astype(np.int16)
    assert likeness_to_mirror(one) == pytest.approx(-1, abs=0.01)
    both = np.concatenate([one, one[..., ::-1]])
    assert likeness_to_mirror(both) == pytest.approx(1)
    mean = one[:, 0].mean(0)
    assert likeness_to_mirror(one) == pytest.approx(
        np.corrcoef(mean.ravel(), mean[..., ::-1].ravel())[0, 1], abs=1e-9
    )
    assert likeness_to_mirror(np.zeros((3, 1, 2, 2, 2), np.int16)) == 1
