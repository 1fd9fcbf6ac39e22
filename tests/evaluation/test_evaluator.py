import numpy as np
import pytest
import torch

from tests.evaluation.sets import write_set
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Evaluator
from voxflate.metrics import (
    centre_slices,
    cut_background,
    frechet_distance,
    kernel_distance,
    pairwise_l2,
)
from voxflate.metrics.extractors.untrained import random_network

SHAPE = (4, 8, 8)
N_TRAIN, N_HELDOUT = 30, 10


def blobs(n, seed):
    """Bright balls of varied size in air that is exactly -1, [n, 1, D, H, W]."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    radii = np.sqrt((grid**2).sum(0)) / rng.uniform(0.6, 1.2, (n, 1, 1, 1))
    inside = 0.5 + rng.normal(0, 0.1, (n, *SHAPE))
    return np.clip(np.where(radii < 1, inside, -1), -1, 1)[:, None].astype(np.float32)


def a_set(folder, seed):
    volumes, names = blobs(N_TRAIN + N_HELDOUT, seed), [f"s{i}" for i in range(N_TRAIN + N_HELDOUT)]
    return write_set(folder, volumes[:N_TRAIN], volumes[N_TRAIN:], names)


@pytest.fixture
def prepared(tmp_path):
    return a_set(tmp_path / "set", 0)


@pytest.fixture
def evaluator(prepared):
    return Evaluator(prepared, extractor="random")


def batches(volumes, size):
    return (volumes[start : start + size] for start in range(0, len(volumes), size))


def test_real_volumes_are_at_zero_and_have_the_real_diversity(evaluator, prepared):
    figures = evaluator.measure([prepared.volumes("all")])
    for view in ("ax", "sag", "cor", "avg"):
        for suffix in ("", "-cut"):
            assert figures[f"frechet-random-{view}{suffix}"] == pytest.approx(0, abs=1e-6)
    assert figures["pairwise-l2"] == pytest.approx(evaluator.real_floor()["pairwise-l2"], rel=0.05)


def test_kid_and_shares_stand_beside_the_distance_and_in_the_floor(evaluator, prepared):
    good, floor = evaluator.measure([blobs(40, 5)]), evaluator.real_floor()
    noise = np.random.default_rng(0).uniform(-1, 1, (40, 1, *SHAPE)).astype(np.float32)
    bad = evaluator.measure([noise])
    for name in ("kid-random-avg", "kid-random-heldout-avg", "kid-random-ax"):
        assert abs(good[name]) < 0.1 * bad[name]
    for name in ("precision", "recall", "density", "coverage"):
        assert good[f"{name}-random-avg"] > 0.5 > bad[f"{name}-random-avg"]
        assert floor[f"{name}-random-avg"] > 0.5


def test_heldout_kid_is_taken_against_held_out_volumes_alone(evaluator, prepared):
    heldout = prepared.volumes("heldout")
    slices = centre_slices(blobs(20, 5))
    network = random_network()

    def extract(images):
        return network(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    expected = [
        kernel_distance(extract(slices[plane]), extract(centre_slices(heldout)[plane])) for plane in slices
    ]
    figures = evaluator.measure([blobs(20, 5)])
    assert figures["kid-random-heldout-avg"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_each_figure_is_the_distance_of_its_plane(evaluator, prepared):
    generated, real = blobs(20, 7), prepared.volumes("all")
    figures = evaluator.measure(batches(generated, 6))
    network = random_network()

    def extract(images):
        return network(torch.from_numpy(np.ascontiguousarray(images))).numpy()

    for suffix, change in (("", np.copy), ("-cut", cut_background)):
        ours, theirs = (
            {plane: extract(x) for plane, x in centre_slices(change(volumes)).items()}
            for volumes in (generated, real)
        )
        expected = {plane: frechet_distance(ours[plane], theirs[plane]) for plane in ours}
        for plane, distance in expected.items():
            assert figures[f"frechet-random-{plane}{suffix}"] == pytest.approx(distance, rel=1e-3)
        mean = np.mean(list(expected.values()))
        assert figures[f"frechet-random-avg{suffix}"] == pytest.approx(mean, rel=1e-3)
    assert figures["pairwise-l2"] == pytest.approx(pairwise_l2(generated))


def test_figures_name_what_they_depend_on(evaluator):
    figures = evaluator.measure([blobs(12, 1)])
    assert (figures["n-real"], figures["n-generated"]) == (N_TRAIN + N_HELDOUT, 12)
    assert figures["extractor"] == "random"
    assert len(figures["weights-sha256"]) == 64
    assert figures["seed"] == 0


def test_the_size_of_batches_does_not_matter(evaluator):
    generated = blobs(12, 1)
    whole, parts = evaluator.measure([generated]), evaluator.measure(batches(generated, 5))
    assert whole.keys() == parts.keys()
    for key, value in whole.items():
        assert parts[key] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)


def test_damage_raises_the_distance_and_the_cut_removes_residue_in_air(evaluator):
    good = blobs(40, 3)
    rng = np.random.default_rng(0)
    residue = np.where(good == -1, -1 + rng.uniform(0, 0.1, good.shape), good).astype(np.float32)
    noisy = np.clip(good + rng.normal(0, 0.3, good.shape), -1, 1).astype(np.float32)
    undamaged, in_air, everywhere = (evaluator.measure([x]) for x in (good, residue, noisy))
    name = "frechet-random-avg"
    assert undamaged[name] < everywhere[name]
    assert in_air[name] != pytest.approx(undamaged[name], rel=1e-2)
    assert in_air[f"{name}-cut"] == pytest.approx(undamaged[f"{name}-cut"], rel=1e-4)


def test_images_are_measured_as_they_are_delivered(evaluator, prepared):
    raw = blobs(20, 3) * 1.3 - 0.1  # air below -1, and bright voxels above 1
    assert evaluator.measure([raw]) == evaluator.measure([raw.clip(-1, 1)])
    assert evaluator.measure_2d([raw[:, :, 1]]) == evaluator.measure_2d([raw[:, :, 1].clip(-1, 1)])


def test_repetition_lowers_diversity(evaluator):
    volumes = blobs(40, 3)
    repeated = evaluator.measure([volumes[np.arange(40) % 4]])
    assert repeated["pairwise-l2"] < evaluator.measure([volumes])["pairwise-l2"]


def test_the_floor_lies_below_a_poor_set_and_is_repeatable(evaluator, prepared):
    floor = evaluator.real_floor()
    assert 0 < floor["frechet-random-avg"] < evaluator.measure([-blobs(40, 1)])["frechet-random-avg"]
    assert (floor["n-real"], floor["n-generated"], floor["splits"]) == (20, 20, 10)
    assert Evaluator(prepared, extractor="random").real_floor() == floor
    assert Evaluator(prepared, extractor="random", seed=1).real_floor() != floor


def test_images_are_compared_with_axial_slices_of_training_volumes(evaluator, prepared):
    slices = prepared.volumes("train")[:, 0].reshape(-1, 1, *SHAPE[1:])
    figures = evaluator.measure_2d(batches(slices, 32))
    assert figures["frechet-random-2d"] == pytest.approx(0, abs=1e-6)
    assert (figures["n-real"], figures["n-generated"]) == (N_TRAIN * SHAPE[0],) * 2
    assert (
        evaluator.measure_2d([-slices])["frechet-random-2d"] > evaluator.real_floor_2d()["frechet-random-2d"]
    )


def test_real_features_are_computed_once_and_never_for_other_data(tmp_path, monkeypatch):
    first, second = a_set(tmp_path / "first", 0), a_set(tmp_path / "second", 1)
    generated = blobs(10, 5)
    result = Evaluator(first, extractor="random").measure([generated])
    assert Evaluator(second, extractor="random").measure([generated]) != result

    def refuse(*_):
        raise AssertionError("the real volumes were read again")

    monkeypatch.setattr(PreparedSet, "volumes", refuse)
    assert Evaluator(first, extractor="random").measure([generated]) == result


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.full((4, 1, *SHAPE), np.nan, np.float32), "NaN"),
        (np.full((4, 1, *SHAPE), np.inf, np.float32), "infinite"),
        (np.zeros((1, 1, *SHAPE), np.float32), "at least 2 samples, got 1"),
        (np.zeros((4, 1, 8, 8, 8), np.float32), r"\[1, 8, 8, 8\], the real ones \[1, 4, 8, 8\]"),
    ],
)
def test_bad_samples_are_refused(evaluator, samples, message):
    with pytest.raises(VoxflateError, match=message):
        evaluator.measure([samples])
    if samples.shape[2:] == SHAPE and len(samples) > 1:
        with pytest.raises(VoxflateError, match=message):
            evaluator.measure_2d([samples[:, :, 0]])


def test_no_samples_are_refused(evaluator):
    with pytest.raises(VoxflateError, match="got 0"):
        evaluator.measure([])


def test_constant_samples_are_measured(evaluator):
    figures = evaluator.measure([np.zeros((6, 1, *SHAPE), np.float32)])
    assert figures["pairwise-l2"] == 0
    assert np.isfinite(figures["frechet-random-avg"])
    assert figures["frechet-random-avg"] > 0


def test_an_unknown_extractor_names_the_choices(prepared):
    with pytest.raises(VoxflateError, match="mobilenetv2, efficientnet-lite0, inception, random"):
        Evaluator(prepared, extractor="resnet")
