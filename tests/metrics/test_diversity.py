import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics import pairwise_l2


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
