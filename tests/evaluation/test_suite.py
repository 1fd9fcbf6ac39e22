"""The whole suite on small sets of blobs, and on the inputs that break evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from tests.evaluation.sets import write_set
from tests.evaluation.test_evaluator import SHAPE, batches, blobs
from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Assessment, Evaluator, Suite, SuiteSettings
from voxflate.evaluation.distances import halvings
from voxflate.evaluation.real import standardised
from voxflate.metrics import PLANES, kernel_distance
from voxflate.metrics.ssim import levels_and_kernel

SETTINGS = SuiteSettings(extractors=("random",), volume_extractor="random3d", replicates=20)
FLAT = SuiteSettings(extractors=("random",), volume_extractor="none", replicates=20)


def a_set(folder: Path, n_train: int, n_heldout: int, subjects: int | None = None) -> PreparedSet:
    count = n_train + n_heldout
    volumes, names = blobs(count, 0), [f"s{i % (subjects or 999)}" for i in range(count)]
    return write_set(folder, volumes[:n_train], volumes[n_train:], names)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedSet:
    return a_set(tmp_path / "set", 30, 10)


def finite(assessment: Assessment) -> bool:
    return all(np.isfinite(figure.value) for figure in assessment.metrics.values())


def test_every_figure_has_an_interval_and_a_floor(prepared: PreparedSet) -> None:
    suite = Suite(prepared, SETTINGS)
    assessment = suite.volumes(batches(blobs(30, 5), 8))
    assert {"frechet-random-avg", "kid-random-avg", "frechet-random3d-3d", "ms-ssim", "psnr"} <= set(
        assessment.metrics
    )
    levels, kernel = levels_and_kernel(min(prepared.shape))
    assert assessment.facts["ms-ssim"] == {"levels": levels, "kernel": kernel}
    for name, figure in assessment.metrics.items():
        assert figure.low is not None, name
        assert figure.high is not None, name
        assert figure.real is not None, name
        assert figure.low <= figure.high, name
        if name.startswith(("frechet", "kid")):
            assert figure.error is not None, name
            assert figure.low <= figure.value <= figure.high, name
    assert assessment.facts["n-generated"] == 30
    assert assessment.facts["n-real-subjects"] == 40
    assert [network["name"] for network in assessment.facts["extractors"]] == ["random", "voxels", "random3d"]
    assert {"generating", "features of slices", "pairs", "intervals"} <= set(assessment.seconds)
    assert len(suite.first) == 8
    again = Assessment.from_dict(json.loads(json.dumps(assessment.as_dict())), "file")
    assert again.metrics == assessment.metrics


def test_the_suite_and_the_quick_measurement_agree(prepared: PreparedSet) -> None:
    generated = blobs(30, 5)
    quick = Evaluator(prepared, "random").measure([generated])
    whole = Suite(prepared, FLAT).volumes(batches(generated, 7))
    for name, value in quick.items():
        if name.startswith(("frechet", "kid", "precision", "recall", "density", "coverage")):
            assert whole.value(name) == pytest.approx(value, rel=1e-4, abs=1e-7), name


def test_images_are_measured_as_they_are_delivered(prepared: PreparedSet) -> None:
    raw = blobs(30, 5) * 1.3 - 0.1
    found = [Suite(prepared, FLAT).volumes([volumes]).metrics for volumes in (raw, raw.clip(-1, 1))]
    assert found[0] == found[1]


def test_both_ways_to_measure_2d_images_agree(prepared: PreparedSet) -> None:
    """Slices have owners, in the distance and in the floor."""
    images = blobs(30, 5)[:, :, 2]
    quick, whole = Evaluator(prepared, "random"), Suite(prepared, FLAT).images([images])
    for name, value in quick.measure_2d([images]).items():
        if name.startswith(("frechet", "kid", "precision", "recall", "density", "coverage")):
            assert whole.value(name) == pytest.approx(value, rel=1e-4, abs=1e-7), name
    sizes, known = whole.facts["floor"], quick.real_floor_2d()
    assert sizes == pytest.approx({key: known[key] for key in sizes}, rel=0.1)


def test_real_volumes_lie_at_the_floor_and_damage_above(prepared: PreparedSet) -> None:
    good = Suite(prepared, FLAT).volumes([blobs(30, 5)])
    bad = Suite(prepared, FLAT).volumes([np.clip(blobs(30, 5) * -0.7, -1, 1)])
    for name in ("frechet-random-avg", "kid-random-avg"):
        figure, worse = good.metrics[name], bad.metrics[name]
        assert worse.low is not None
        assert figure.real is not None
        assert worse.low > max(figure.value, figure.real)


def test_more_slices_are_more_samples_of_the_same_volumes(prepared: PreparedSet) -> None:
    settings = SuiteSettings(extractors=("random",), volume_extractor="none", slices=3, replicates=10)
    three = Suite(prepared, settings).volumes([blobs(20, 5)])
    one = Suite(prepared, FLAT).volumes([blobs(20, 5)])
    assert three.facts["slices"] == 3
    assert three.value("frechet-random-avg") != one.value("frechet-random-avg")


def test_kernel_distances_leave_out_pairs_of_slices_of_one_volume(prepared: PreparedSet) -> None:
    """Also the held-out one and the floors: twenty random halvings average to about zero."""
    settings = SuiteSettings(extractors=("random",), volume_extractor="none", slices=4, replicates=10)
    suite, generated = Suite(prepared, settings), blobs(20, 5)
    found = suite.volumes([generated]).metrics
    made, real = suite.features["random"], suite.real_features()
    for name, begin in (("kid-random-avg", 0), ("kid-random-heldout-avg", 30 * 4)):
        expected = [kernel_distance(made[plane], real[plane][begin:], 4) for plane in PLANES]
        assert found[name].value == pytest.approx(np.mean(expected))
        assert found[name].low < found[name].value < found[name].high
    biased = np.mean([kernel_distance(made[plane], real[plane]) for plane in PLANES])
    assert found["kid-random-avg"].value < biased
    rounds = halvings("random", {plane: real[plane] for plane in PLANES}, suite.real.subjects, 40, 0, 4)
    values = [each["kid-random-avg"] for each in rounds]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))


def test_few_volumes_of_several_slices_have_no_floor_of_one_volume(tmp_path: Path) -> None:
    settings = SuiteSettings(extractors=("random",), volume_extractor="none", slices=3, replicates=5)
    prepared = write_set(tmp_path / "set", blobs(4, 0), blobs(0, 0), ["a", "b", "b", "b"])
    found = Suite(prepared, settings).volumes([blobs(4, 5)])
    assert finite(found)
    assert found.metrics["kid-random-avg"].real is None  # as with one slice


def test_two_extractors_stand_side_by_side(prepared: PreparedSet) -> None:
    settings = SuiteSettings(extractors=("random", "mobilenetv2"), volume_extractor="none", replicates=0)
    figures = Suite(prepared, settings).volumes([blobs(10, 5)]).metrics
    assert {"frechet-random-avg", "frechet-mobilenetv2-avg"} <= set(figures)
    assert figures["psnr"].low is None


def test_a_small_set_warns_that_samples_are_fewer_than_features(prepared: PreparedSet) -> None:
    (warning, *_) = Suite(prepared, FLAT).volumes([blobs(20, 5)]).warnings
    assert "20 generated and 40 real samples are fewer than its 64 features" in warning


@pytest.mark.parametrize(("n_train", "n_heldout"), [(40, 0), (40, 1), (5, 1), (3, 1)])
def test_tiny_sets_give_figures_and_say_what_is_missing(tmp_path: Path, n_train: int, n_heldout: int) -> None:
    assessment = Suite(a_set(tmp_path / "set", n_train, n_heldout), FLAT).volumes([blobs(8, 5)])
    assert finite(assessment)
    assert any(
        f"no held-out KID: it needs 2 held-out volumes, there are {n_heldout}" in warning
        for warning in assessment.warnings
    )
    assert assessment.value("kid-random-heldout-avg") is None
    few = n_train + n_heldout <= 5
    assert any("no precision and recall" in warning for warning in assessment.warnings) == few


def test_one_subject_has_neither_interval_nor_floor(tmp_path: Path) -> None:
    assessment = Suite(a_set(tmp_path / "set", 8, 0, subjects=1), FLAT).volumes([blobs(8, 5)])
    assert finite(assessment)
    assert all(figure.low is None and figure.real is None for figure in assessment.metrics.values())
    assert any("all real volumes come from one subject" in warning for warning in assessment.warnings)


@pytest.mark.parametrize(("subjects", "generated"), [(2, 8), (8, 2)])
def test_two_people_or_samples_have_no_interval(tmp_path: Path, subjects: int, generated: int) -> None:
    """Every draw of two that has both is the same draw: its interval would have no width."""
    assessment = Suite(a_set(tmp_path / "set", 8, 0, subjects), FLAT).volumes([blobs(generated, 5)])
    assert all(metric.low is None for metric in assessment.metrics.values())
    assert "no intervals: they need 3 generated samples and real ones of 3 subjects" in assessment.warnings


def test_intervals_end_at_values_that_a_metric_can_have(prepared: PreparedSet) -> None:
    metrics = Suite(prepared, FLAT).volumes([blobs(30, 5)]).metrics
    ends = [metrics[f"{name}-random-avg"] for name in ("precision", "recall", "coverage")]
    assert all(0 <= metric.low <= metric.value <= metric.high <= 1 for metric in ends)
    assert any(metric.high == 1 for metric in ends)
    assert all(metric.low >= 0 for name, metric in metrics.items() if name.startswith("frechet"))


def test_precision_of_slices_is_not_called_missing(prepared: PreparedSet) -> None:
    settings = SuiteSettings(extractors=("random",), volume_extractor="none", slices=3, replicates=0)
    assessment = Suite(prepared, settings).volumes([blobs(4, 5)])
    assert assessment.value("precision-random-avg") is not None
    assert not any("no precision" in warning for warning in assessment.warnings)


def test_constant_samples_are_measured_and_called_what_they_are(prepared: PreparedSet) -> None:
    assessment = Suite(prepared, SETTINGS).volumes([np.zeros((10, 1, *SHAPE), np.float32)])
    assert finite(assessment)
    assert any("10 of 10 generated samples are constant" in warning for warning in assessment.warnings)
    assert any("collapsed" in warning for warning in assessment.warnings)


def test_exact_copies_have_a_finite_psnr(prepared: PreparedSet) -> None:
    assessment = Suite(prepared, FLAT).volumes([prepared.volumes("train")[:10]])
    assert 90 < (assessment.value("psnr-nearest") or 0) < 107  # to rounding


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(prepared: PreparedSet, value: float) -> None:
    samples = blobs(6, 5)
    samples[4, 0, 1, 2, 3] = value
    with pytest.raises(VoxflateError, match="NaN or infinite"):
        Suite(prepared, FLAT).volumes([samples])


def test_too_few_samples_and_bad_settings_are_refused(prepared: PreparedSet) -> None:
    with pytest.raises(VoxflateError, match="at least 2 samples, got 1"):
        Suite(prepared, FLAT).volumes([blobs(1, 5)])
    with pytest.raises(VoxflateError, match="slices per plane"):
        Suite(prepared, SuiteSettings(extractors=("random",), slices=0))
    most = min(prepared.shape)
    with pytest.raises(VoxflateError, match=f"at most {most}, the shortest axis of .*; got {most + 1}"):
        Suite(prepared, SuiteSettings(extractors=("random",), slices=most + 1))
    with pytest.raises(VoxflateError, match="extractor random: is given twice"):
        Suite(prepared, SuiteSettings(extractors=("random", "random")))
    with pytest.raises(VoxflateError, match="choose one of auto, none, deepbet, radiomics, random3d"):
        Suite(prepared, SuiteSettings(extractors=("random",), volume_extractor="nothing"))


def test_images_of_the_2d_stage(prepared: PreparedSet) -> None:
    slices = prepared.volumes("train")[:, 0].reshape(-1, 1, *SHAPE[1:])
    assessment = Suite(prepared, FLAT).images([slices])
    figure = assessment.metrics["frechet-random-2d"]
    assert figure.value == pytest.approx(0, abs=1e-6)
    assert figure.real is not None
    assert "psnr" not in assessment.metrics


def test_an_assessment_of_another_format_is_refused() -> None:
    with pytest.raises(VoxflateError, match="run voxflate evaluate again"):
        Assessment.from_dict({"format": 0}, "metrics.json")


def test_radiomic_distances_tell_smooth_volumes_from_sharp_ones(tmp_path: Path) -> None:
    prepared = a_set(tmp_path / "set", 20, 6)
    suite = Suite(prepared, SuiteSettings(extractors=("random",), volume_extractor="radiomics", replicates=0))
    good = suite.volumes([blobs(20, 5)]).metrics["frechet-radiomics-3d"]
    smooth = ndimage.gaussian_filter(blobs(20, 5), (0, 0, 1, 1, 1))
    bad = suite.volumes([smooth]).metrics["frechet-radiomics-3d"]
    assert bad.value > 3 * good.value


def test_more_generated_than_real_volumes_are_warned_of(prepared: PreparedSet) -> None:
    def warned(count: int) -> list[str]:
        found = Suite(prepared, FLAT).volumes(batches(blobs(count, 5), 8))
        return [warning for warning in found.warnings if "coverage" in warning]

    assert warned(40) == []
    assert "60 against 40 real ones reach 0.990 and equal numbers 0.969" in warned(60)[0]


def test_the_expected_coverage_is_that_of_equal_distributions() -> None:
    """What the warning says, by drawing."""
    from voxflate.metrics.prdc import prdc

    rng = np.random.default_rng(0)
    found = [prdc(rng.normal(size=(40, 3)), rng.normal(size=(60, 3)))["coverage"] for _ in range(200)]
    assert np.mean(found) == pytest.approx(1 - (40 / 100) ** 5, abs=0.01)


def test_features_are_divided_by_the_deviations_of_the_real_ones() -> None:
    rng = np.random.default_rng(0)
    generated, real = rng.normal(1, 2, (20, 3)), rng.normal(3, [0.1, 50, 0], (30, 3))
    scaled, scaled_real = (each["3d"] for each in standardised({"3d": generated}, {"3d": real}))
    np.testing.assert_allclose(scaled_real.std(axis=0), [1, 1, 0], rtol=1e-5)
    deviations = [*real.std(axis=0)[:2], 1]  # what does not vary stays as it is
    np.testing.assert_allclose(scaled, generated / deviations, rtol=1e-5)
    np.testing.assert_allclose(scaled_real, real / deviations, rtol=1e-5)
