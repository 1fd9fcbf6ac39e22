"""Several scans of one person: their pairs do not count in a kernel distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.sets import write_set
from tests.evaluation.test_evaluator import blobs
from tests.evaluation.test_suite import FLAT
from tests.strategies import PAIRS, write_prepared
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Evaluator, Suite
from voxflate.evaluation.classes import class_distances
from voxflate.evaluation.distances import halvings
from voxflate.evaluation.real import RealSet
from voxflate.metrics import PLANES, extractor, kernel_distance, nearest_l2

N_TRAIN, N_HELDOUT = 24, 9


def rescanned(folder: Path, people: list[str], n_train: int = N_TRAIN) -> PreparedSet:
    """A set in which scans of one person differ by noise alone."""
    names = sorted(set(people))
    volumes = blobs(len(names), 0)[[names.index(who) for who in people]]
    noise = np.random.default_rng(1).normal(0, 0.05, volumes.shape)
    volumes = np.clip(volumes + noise, -1, 1).astype(np.float32)
    return write_set(folder, volumes[:n_train], volumes[n_train:], people)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    """11 people with 3 scans each; 3 people are held out."""
    return rescanned(tmp_path / "set", [f"s{i // 3:02}" for i in range(N_TRAIN + N_HELDOUT)])


def test_every_kid_leaves_out_pairs_of_one_person(prepared: PreparedSet) -> None:
    suite, generated = Suite(prepared, FLAT), blobs(20, 5)
    found = suite.volumes([generated]).metrics
    quick = Evaluator(prepared, "random").measure([generated])
    made, real, people = suite.features["random"], suite.real_features(), suite.real.subjects
    for name, begin in (("kid-random-avg", 0), ("kid-random-heldout-avg", N_TRAIN)):
        owners = None, people[begin:]
        apart = [kernel_distance(made[x], real[x][begin:], 1, owners) for x in PLANES]
        assert found[name].value == pytest.approx(np.mean(apart))
        assert quick[name] == pytest.approx(np.mean(apart), rel=1e-4)
        assert found[name].low < found[name].value < found[name].high
        assert found[name].value < np.mean([kernel_distance(made[x], real[x][begin:]) for x in PLANES])
    train = [
        kernel_distance(real[x][:N_TRAIN], real[x][N_TRAIN:], 1, (people[:N_TRAIN], people[N_TRAIN:]))
        for x in PLANES
    ]
    assert found["kid-random-heldout-avg"].real == pytest.approx(np.mean(train))


def test_the_nearest_of_a_real_volume_is_another_persons(prepared: PreparedSet) -> None:
    volumes, people = prepared.volumes("all"), RealSet(prepared).subjects
    floor = Evaluator(prepared, "random").real_floor()["nearest-l2"]
    assert floor == pytest.approx(nearest_l2(volumes, people), rel=1e-5)
    assert floor > 1.2 * nearest_l2(volumes)


def test_slices_of_one_person_do_not_count_as_independent(prepared: PreparedSet) -> None:
    people, depth = [f"s{i // 3:02}" for i in range(N_TRAIN)], prepared.shape[0]
    real, random = RealSet(prepared, min_content=0.02), extractor("random")
    volumes = prepared.volumes("train")[:, 0].reshape(-1, 1, *prepared.shape[1:])
    whole, found = random(torch.from_numpy(volumes)).numpy(), real.slice_features(random)["2d"]
    nearest = np.linalg.norm(found[:, None] - whole, axis=-1).argmin(axis=1)
    assert real.slice_subjects == [people[i // depth] for i in nearest]

    evaluator = Evaluator(prepared, "random", min_content=0.02)
    generated = blobs(8, 5)[:, :, 3]
    made = random(torch.from_numpy(generated)).numpy()
    apart = kernel_distance(made, found, 1, (None, real.slice_subjects))
    assert evaluator.measure_2d([generated])["kid-random-2d"] == pytest.approx(apart, rel=1e-4)
    assert apart < kernel_distance(made, found)


def test_the_floor_of_slices_halves_people(prepared: PreparedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = Evaluator(prepared, "random")
    floor = evaluator.real_floor_2d()
    assert (floor["n-real"], floor["n-generated"]) == (N_TRAIN // 2 * prepared.shape[0],) * 2
    monkeypatch.setattr(RealSet, "slice_subjects", [str(i) for i in range(N_TRAIN * prepared.shape[0])])
    by_slice = Evaluator(prepared, "random").real_floor_2d()
    assert by_slice["frechet-random-2d"] < floor["frechet-random-2d"]


def test_the_floor_is_not_raised_by_scans_of_one_person(prepared: PreparedSet) -> None:
    real = RealSet(prepared)
    features = Suite(prepared, FLAT).real_features()
    rounds = halvings("random", {x: features[x] for x in PLANES}, real.subjects, 60, 0)
    values = [each["kid-random-avg"] for each in rounds]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_a_class_s_kid_leaves_out_pairs_of_one_person(tmp_path: Path) -> None:
    real = RealSet(write_prepared(tmp_path / "set", layout=PAIRS, n_train=20, n_heldout=4))
    rng = np.random.default_rng(0)
    generated, theirs = ({x: rng.normal(size=(24, 8)) for x in PLANES} for _ in range(2))
    real.subjects = [f"s{number // 4}" for number in range(24)]  # two men and two women each
    values, floors = class_distances("net", generated, theirs, real.labels, real, 1, 5, 0)
    men = np.array([each["sex"] == "M" for each in real.labels])
    owners = None, [who for who, own in zip(real.subjects, men, strict=True) if own]
    expected = [kernel_distance(generated[x][men], theirs[x][men], 1, owners) for x in PLANES]
    assert values["kid-net-sex-M-avg"] == pytest.approx(np.mean(expected))
    assert "kid-net-sex-M-avg" in floors
    real.subjects = ["s0"] * 24
    assert class_distances("net", generated, theirs, real.labels, real, 1, 5, 0) == ({}, {})


def test_one_person_is_not_enough_for_a_kid(tmp_path: Path) -> None:
    alone = Suite(rescanned(tmp_path / "alone", ["s0"] * 10, 6), FLAT).volumes([blobs(8, 5)])
    assert not any(name.startswith("kid") for name in alone.metrics)
    assert "frechet-random-avg" in alone.metrics
    assert any("no floor and no KID: all real volumes come from one" in text for text in alone.warnings)

    one_out = rescanned(tmp_path / "one-out", ["a", "a", "b", "b", "c", "c", "d", "d", "d"], 6)
    found = Suite(one_out, FLAT).volumes([blobs(8, 5)])
    assert "kid-random-avg" in found.metrics
    assert "kid-random-heldout-avg" not in found.metrics
    assert any("no held-out KID: all held-out volumes come from one" in text for text in found.warnings)

    three = rescanned(tmp_path / "three", ["a", "a", "b", "b", "c", "c"], 4)
    metrics = Suite(three, FLAT).volumes([blobs(8, 5)]).metrics
    assert metrics["kid-random-avg"].real is None  # a half is one person
    assert metrics["frechet-random-avg"].real is not None


def test_replicates_of_few_people_have_two_of_them(tmp_path: Path) -> None:
    few = rescanned(tmp_path / "few", ["a", "a", "b", "b", "c", "c"], 4)
    kid = Suite(few, FLAT).volumes([blobs(8, 5)]).metrics["kid-random-avg"]
    assert kid.low is not None
    assert kid.low < kid.value < kid.high
    two = rescanned(tmp_path / "two", ["a", "a", "a", "b", "b", "b"], 4)  # decision 0221
    kid = Suite(two, FLAT).volumes([blobs(8, 5)]).metrics["kid-random-avg"]
    assert kid.low is None
