import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics import nearest_l2, pairwise_l2


def test_known_distances():
    volumes = np.zeros((3, 1, 2, 2, 2), np.float32)
    volumes[1] += 1  # at sqrt(8) of the first
    volumes[2] += 3  # at 3 sqrt(8) of the first, 2 sqrt(8) of the second
    assert pairwise_l2(volumes) == pytest.approx(2 * np.sqrt(8))


def test_equal_volumes_have_none():
    assert pairwise_l2(np.ones((5, 1, 2, 2, 2), np.float32)) == 0


def test_drawn_pairs_come_near_all_pairs_and_depend_on_the_seed_only():
    volumes = np.random.default_rng(0).normal(size=(60, 1, 4, 4, 4)).astype(np.float32)
    every = pairwise_l2(volumes, pairs=10**6)
    drawn = pairwise_l2(volumes, pairs=500, seed=3)
    assert drawn == pytest.approx(every, rel=0.02)
    assert drawn == pairwise_l2(volumes, pairs=500, seed=3) != pairwise_l2(volumes, pairs=500, seed=4)


def test_one_volume_is_refused():
    with pytest.raises(VoxflateError, match="got 1"):
        pairwise_l2(np.zeros((1, 1, 2, 2, 2), np.float32))


def test_nearest_l2_sees_kinds_that_pairwise_l2_does_not():
    spread = np.random.default_rng(0).standard_normal((12, 1, 4, 4, 4)).astype(np.float32)
    kinds = np.repeat(spread[:3] * 1.2, 4, axis=0)  # four copies of each of three
    assert pairwise_l2(kinds) == pytest.approx(pairwise_l2(spread), rel=0.25)
    assert nearest_l2(kinds) == pytest.approx(0, abs=0.02)
    apart = np.linalg.norm((spread[:, None] - spread).reshape(12, 12, -1), axis=2) + 99 * np.eye(12)
    assert nearest_l2(spread) == pytest.approx(apart.min(axis=1).mean(), rel=1e-5)
    with pytest.raises(VoxflateError, match="needs at least 2 volumes"):
        nearest_l2(spread[:1])


def test_the_most_similar_volume_is_one_of_another_person() -> None:
    volumes = np.array([0.0, 0.1, 1.0, 1.1], np.float32).reshape(4, 1, 1, 1, 1)
    assert nearest_l2(volumes) == pytest.approx(0.1)
    assert nearest_l2(volumes, ["a", "a", "b", "b"]) == pytest.approx((1 + 0.9 + 0.9 + 1) / 4)


def test_half_precision_and_whole_numbers_do_not_overflow() -> None:
    volumes = np.random.default_rng(0).integers(0, 255, (4, 1, 32, 32, 32))
    for measure in (pairwise_l2, nearest_l2):
        expected = measure(volumes.astype(np.float32))
        for kind in (np.float16, np.uint8):
            assert measure(volumes.astype(kind)) == pytest.approx(expected, rel=1e-4)
