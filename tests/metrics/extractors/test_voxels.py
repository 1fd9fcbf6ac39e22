import numpy as np
import pytest
import torch

from tests.strategies import random_tensor
from voxflate.metrics.extractors.voxels import VoxelComponents, coordinates, principal_components


def a_set(n=12, seed=0):
    """Volumes that vary along three directions much, and everywhere a little."""
    directions = random_tensor(3, 1, 4, 5, 6, seed=1).numpy()
    weights = random_tensor(n, 3, seed=seed).numpy() * [9, 5, 3]
    return np.tensordot(weights, directions, 1) + 0.01 * random_tensor(n, 1, 4, 5, 6, seed=seed + 2).numpy()


def fitted(volumes, *components):
    return VoxelComponents(*principal_components(volumes, *components), "hash")


def test_coordinates_are_those_of_a_singular_value_decomposition():
    volumes = a_set()
    extractor = fitted(volumes, 3)
    ours = extractor(torch.from_numpy(volumes)).numpy()
    centred = volumes.reshape(len(volumes), -1) - volumes.reshape(len(volumes), -1).mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(ours), np.abs(u[:, :3] * s[:3]), rtol=1e-3, atol=1e-3)


def test_other_volumes_keep_their_distances_within_the_components():
    extractor = fitted(a_set())
    others = a_set(seed=9)
    features = extractor(torch.from_numpy(others)).numpy()
    expected = np.linalg.norm(others[0] - others[1])
    assert np.linalg.norm(features[0] - features[1]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("fitted_to", [range(12), [0, 3, 4, 8, 11]])
def test_coordinates_follow_from_inner_products(fitted_to):
    volumes, chosen = a_set(), np.array(fitted_to)
    extractor = fitted(volumes[chosen], 3)
    ours = extractor(torch.from_numpy(volumes)).numpy()
    flat = volumes.reshape(len(volumes), -1) - volumes[5].reshape(1, -1)
    found = coordinates(flat @ flat.T, chosen, 3)
    np.testing.assert_allclose(np.abs(found), np.abs(ours), rtol=1e-3, atol=1e-3)


def test_there_are_at_most_n_minus_1_components():
    assert fitted(a_set(5)).side == 4
    assert fitted(a_set(60)).side == 40
    equal = np.repeat(a_set(1), 5, axis=0)
    assert np.isfinite(fitted(equal)(torch.from_numpy(equal)).numpy()).all()
    with pytest.raises(ValueError, match="at least 2 volumes, got 1"):
        fitted(a_set(1))
