"""Radiomic features against their definitions, counted voxel by voxel."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from voxflate.metrics.extractors.radiomics import Radiomics
from voxflate.metrics.radiomics import (
    DIRECTIONS,
    LEVELS,
    cooccurrence,
    first_order,
    neighbourhood_differences,
    radiomic_features,
    runs,
    size_features,
    zones,
)

STEPS = [(0, 0, 1), (0, 1, -1), (1, 0, 0), (1, -1, 1), (1, 1, 0)]


def levels(seed: int = 0, shape: tuple[int, int, int] = (3, 4, 5), count: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, shape)


def inside(voxel: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return all(0 <= x < n for x, n in zip(voxel, shape, strict=True))


def test_thirteen_directions_one_of_every_pair() -> None:
    assert len(DIRECTIONS) == 13
    both = set(DIRECTIONS) | {tuple(-x for x in step) for step in DIRECTIONS}
    assert both == set(product((-1, 0, 1), repeat=3)) - {(0, 0, 0)}


@pytest.mark.parametrize("step", STEPS)
def test_cooccurrence_counts_every_pair_both_ways(step: tuple[int, int, int]) -> None:
    values = levels()
    pairs = []
    for voxel in product(*map(range, values.shape)):
        other = tuple(np.add(voxel, step))
        if inside(other, values.shape):
            pairs += [(values[voxel], values[other]), (values[other], values[voxel])]
    first, second = np.array(pairs).T + 1.0
    found = cooccurrence(values, step)
    assert found["joint-average"] == pytest.approx(first.mean())
    assert found["joint-variance"] == pytest.approx(first.var())
    assert found["contrast"] == pytest.approx(((first - second) ** 2).mean())
    assert found["difference-average"] == pytest.approx(np.abs(first - second).mean())
    assert found["difference-variance"] == pytest.approx(np.abs(first - second).var())
    assert found["correlation"] == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert found["autocorrelation"] == pytest.approx((first * second).mean())
    assert found["cluster-shade"] == pytest.approx(((first + second - 2 * first.mean()) ** 3).mean())
    shares = np.unique(pairs, axis=0, return_counts=True)[1] / len(pairs)
    assert found["joint-energy"] == pytest.approx((shares**2).sum())
    assert found["joint-entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert found["largest"] == pytest.approx(shares.max())


@pytest.mark.parametrize("step", STEPS)
def test_runs_are_those_found_by_walking(step: tuple[int, int, int]) -> None:
    values = levels(count=2)
    expected = []
    for voxel in product(*map(range, values.shape)):
        before = tuple(np.subtract(voxel, step))
        if inside(before, values.shape) and values[before] == values[voxel]:
            continue
        length, here = 1, tuple(np.add(voxel, step))
        while inside(here, values.shape) and values[here] == values[voxel]:
            length, here = length + 1, tuple(np.add(here, step))
        expected.append((values[voxel], length))
    assert sorted(zip(*runs(values, step), strict=True)) == sorted(expected)


def test_zones_touch_by_corners_too() -> None:
    values = np.ones((3, 3, 3), int)
    values[0, 0, 0] = values[1, 1, 1] = 0  # one zone of two, through a corner
    values[2, 0, 2] = 2
    assert sorted(zip(*zones(values), strict=True)) == [(0, 2), (1, 24), (2, 1)]


def test_features_of_sizes_by_hand() -> None:
    found = size_features(np.array([0, 0, 1]), np.array([1, 2, 2]))  # levels count from 1 in the formulas
    assert found["short"] == pytest.approx((1 + 1 / 4 + 1 / 4) / 3)
    assert found["long-high"] == pytest.approx((1 * 1 + 1 * 4 + 4 * 4) / 3)
    assert found["level-non-uniformity"] == pytest.approx((2 / 3) ** 2 + (1 / 3) ** 2)
    assert found["size-non-uniformity"] == pytest.approx((1 / 3) ** 2 + (2 / 3) ** 2)
    assert found["pieces-per-voxel"] == pytest.approx(3 / 5)
    assert found["entropy"] == pytest.approx(np.log2(3))


def test_neighbourhood_differences_by_hand() -> None:
    values = levels(count=4)
    s, n = np.zeros(LEVELS), np.zeros(LEVELS)
    for voxel in product(*map(range, values.shape)):
        near = [tuple(np.add(voxel, d)) for d in product((-1, 0, 1), repeat=3) if d != (0, 0, 0)]
        near = [values[other] for other in near if inside(other, values.shape)]
        s[values[voxel]] += abs(values[voxel] - np.mean(near))
        n[values[voxel]] += 1
    p = n / n.sum()
    found = neighbourhood_differences(values)
    assert found["coarseness"] == pytest.approx(1 / (p * s).sum())
    gaps = [(i - j) ** 2 * p[i] * p[j] for i in range(4) for j in range(4)]
    assert found["contrast"] == pytest.approx(sum(gaps) / 12 * s.sum() / values.size)


def test_first_order_of_two_values() -> None:
    volume = np.where(np.arange(100).reshape(4, 5, 5) < 25, 0.5, -1.0)
    found = first_order(volume, (volume > 0).astype(int))
    assert found["mean"] == pytest.approx(-0.625)
    assert found["skewness"] == pytest.approx(2 / np.sqrt(3))
    assert found["entropy"] == pytest.approx(0.25 * 2 + 0.75 * np.log2(4 / 3))
    assert found["uniformity"] == pytest.approx(0.25**2 + 0.75**2)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_a_constant_volume_has_finite_features(value: float) -> None:
    assert np.isfinite(list(radiomic_features(np.full((3, 4, 5), value)).values())).all()


def test_turning_a_volume_over_changes_nothing() -> None:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(6, 7, 8)), 1)
    volume /= np.abs(volume).max()
    one, other = radiomic_features(volume), radiomic_features(volume[::-1, :, ::-1])
    assert one == pytest.approx(other)


def test_the_extractor_gives_one_row_per_volume() -> None:
    volumes = torch.rand(3, 1, 4, 5, 6) * 2 - 1
    features = Radiomics()(volumes)
    assert features.shape == (3, 65)
    np.testing.assert_allclose(
        features[1], list(radiomic_features(volumes[1, 0].numpy()).values()), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="volumes must be"):
        Radiomics()(volumes[:, 0])
