"""The floor: real volumes against real ones, compared as generated volumes are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import blobs
from tests.evaluation.test_suite import FLAT, a_set
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Evaluator, Suite
from voxflate.evaluation.distances import compare_features, half_sizes, halves
from voxflate.evaluation.evaluator import FLOOR_SPLITS
from voxflate.evaluation.real import RealSet
from voxflate.evaluation.statistics import HALVINGS
from voxflate.metrics.extractors.voxels import VoxelComponents, principal_components

VOXEL_METRICS = ["frechet", "precision", "recall", "density", "coverage"]


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    return a_set(tmp_path / "set", 30, 10)


def in_axes_of(fitted: np.ndarray, volumes: np.ndarray) -> dict[str, np.ndarray]:
    extractor = VoxelComponents(*principal_components(fitted), "hash")
    return {"3d": extractor(torch.from_numpy(volumes)).numpy()}


def test_axes_are_fitted_to_the_half_that_stands_for_the_real_set(prepared: PreparedSet) -> None:
    """The other half stands for generated volumes, which never take part in the fit."""
    real, volumes = RealSet(prepared), prepared.volumes("all")
    found = Suite(prepared, FLAT).volumes([blobs(30, 5)]).metrics
    quick = Evaluator(prepared, "random").real_floor()
    for splits, floor in ((HALVINGS, {name: m.real for name, m in found.items()}), (FLOOR_SPLITS, quick)):
        rounds = [
            compare_features(
                "voxels", *(in_axes_of(volumes[~here], volumes[chosen]) for chosen in (here, ~here))
            )
            for here in halves(real.subjects, splits, 0)
        ]
        assert "kid-voxels-3d" not in floor  # its axes are fitted to one side, which makes it negative
        for name in VOXEL_METRICS:
            expected = np.mean([each[f"{name}-voxels-3d"] for each in rounds])
            assert floor[f"{name}-voxels-3d"] == pytest.approx(expected, rel=1e-3, abs=1e-4), name


def test_the_distance_itself_takes_the_axes_of_the_whole_set(prepared: PreparedSet) -> None:
    volumes, generated = prepared.volumes("all"), blobs(30, 5)
    ours, theirs = (in_axes_of(volumes, each) for each in (generated, volumes))
    found = Evaluator(prepared, "random").measure([generated])
    for name, value in compare_features("voxels", ours, theirs, fitted=True).items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def test_axes_of_a_large_set_are_fitted_to_some_of_the_chosen_volumes(
    prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxflate.evaluation.real.FITTED", 12)
    real, volumes = RealSet(prepared, seed=3, cache=tmp_path / "cache"), prepared.volumes("all")
    chosen = np.arange(40) % 3 > 0
    fitted = np.sort([i for i in np.random.default_rng(3).permutation(40) if chosen[i]][:12])
    expected = in_axes_of(volumes[fitted], volumes)["3d"]
    np.testing.assert_allclose(np.abs(real.refitted(chosen)["3d"]), np.abs(expected), rtol=1e-3, atol=1e-3)


def test_another_seed_s_axes_are_never_compared_with_cached_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In sets with more volumes than the components are fitted to."""
    monkeypatch.setattr("voxflate.evaluation.real.FITTED", 12)
    prepared, generated = a_set(tmp_path / "set", 30, 10), blobs(20, 5)

    def measured(seed: int, cache: str) -> dict[str, float]:
        found = Evaluator(prepared, "random", seed, cache=tmp_path / cache).measure([generated])
        return {name: found[f"{name}-voxels-3d"] for name in VOXEL_METRICS}

    measured(0, "shared")
    assert measured(1, "shared") == measured(1, "fresh")
    assert measured(1, "shared") != measured(0, "shared")


def test_the_sizes_of_the_halves_are_those_of_the_halvings(tmp_path: Path) -> None:
    """Halvings split people, and people have different numbers of scans."""
    prepared = a_set(tmp_path / "set", 12, 5, subjects=5)
    subjects = RealSet(prepared).subjects
    (sizes,) = {tuple(half_sizes(subjects, splits, 0).values()) for splits in (FLOOR_SPLITS, HALVINGS)}
    assert sizes == (7, 10)
    found = [here.sum() for here in halves(subjects, FLOOR_SPLITS, 0)]
    assert sizes[1] == round(np.mean(found))
    floor = Evaluator(prepared, "random").real_floor()
    assert (floor["n-real"], floor["n-generated"]) == sizes
    facts = Suite(prepared, FLAT).volumes([blobs(8, 5)]).facts
    assert facts["floor"] == {"n-real": 7, "n-generated": 10}
