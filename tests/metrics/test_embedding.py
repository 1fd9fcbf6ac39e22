import numpy as np
import pytest

from voxflate._system.errors import VoxflateError
from voxflate.metrics.embedding import tsne


def test_neighbours_are_of_the_own_group_and_a_seed_gives_one_picture() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(20, 8)), rng.normal(5, 1, size=(20, 8))])
    spots = tsne(features)
    assert spots.shape == (40, 2)
    distances = np.linalg.norm(spots[:, None] - spots, axis=-1)
    np.fill_diagonal(distances, np.inf)
    group = np.arange(40) // 20
    np.testing.assert_array_equal(group[distances.argmin(axis=1)], group)
    np.testing.assert_array_equal(tsne(features), spots)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(VoxflateError, match="at least 5 samples, got 4"):
        tsne(np.zeros((4, 3)))
