import numpy as np
import pytest
from scipy.spatial.distance import cdist

from voxflate.metrics import frechet_distance, kernel_distance, prdc
from voxflate.metrics.bootstrap import draw_counts, interval, intervals
from voxflate.metrics.frechet import weighted_frechet
from voxflate.metrics.gram import Gram
from voxflate.metrics.kid import weighted_kernel_distance
from voxflate.metrics.prdc import weighted_prdc


def sets(n=30, m=40, f=60, seed=0, shift=0.3):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1.1, (n, f)), rng.normal(size=(m, f))


def test_ones_give_the_figures_themselves():
    a, b = sets()
    gram, ones = Gram.of(a, b), (np.ones(30), np.ones(40))
    assert weighted_frechet(gram)(*ones)[""] == pytest.approx(frechet_distance(a, b), rel=1e-6)
    assert weighted_kernel_distance(gram)(*ones)[""] == pytest.approx(kernel_distance(a, b), rel=1e-9)
    assert weighted_prdc(gram)(*ones) == pytest.approx(prdc(b, a), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_repetitions(seed):
    a, b = sets(seed=seed)
    rng = np.random.default_rng(seed)
    counts_a, counts_b = (rng.integers(0, 4, n).astype(float) for n in (30, 40))
    repeated = a.repeat(counts_a.astype(int), 0), b.repeat(counts_b.astype(int), 0)
    got = weighted_frechet(Gram.of(a, b))(counts_a, counts_b)[""]
    assert got == pytest.approx(frechet_distance(*repeated), rel=1e-5)


def test_counts_weigh_samples_while_radii_stay_those_of_the_sets():
    a, b = sets(shift=1.0)
    rng = np.random.default_rng(0)
    counts_a, counts_b = (rng.integers(0, 4, n).astype(float) for n in (30, 40))
    radius_a, radius_b = (np.sort(cdist(x, x))[:, 5] for x in (a, b))
    near_b, near_a = cdist(a, b) < radius_b, cdist(a, b) < radius_a[:, None]
    drawn_a, drawn_b = counts_a > 0, counts_b > 0
    expected = {
        "precision": np.average(near_b[:, drawn_b].any(1), weights=counts_a),
        "recall": np.average(near_a[drawn_a].any(0), weights=counts_b),
        "density": np.average(near_b @ counts_b, weights=counts_a) / 5 * 40 / counts_b.sum(),
        "coverage": np.average(near_b[drawn_a].any(0), weights=counts_b),
    }
    assert weighted_prdc(Gram.of(a, b))(counts_a, counts_b) == pytest.approx(expected)


def test_the_longer_tail_of_the_replicates_is_the_longer_side_of_the_interval():
    found = interval(10.0, [0.0] * 90 + [5.0] * 10)
    assert found.high - 10 > 2 * (10 - found.low)


def test_subjects_are_drawn_with_all_their_samples():
    subjects = ["a", "a", "b", "c", "c", "c"]
    for seed in range(20):
        counts = draw_counts(subjects, np.random.default_rng(seed))
        assert counts[0] == counts[1]
        assert counts[3] == counts[4] == counts[5]
        assert counts[0] + counts[2] + counts[3] == 3


def test_the_interval_of_a_mean_is_the_textbooks():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, 200)
    owners = [str(i) for i in range(200)]
    found = intervals(
        [lambda a, b: {"mean": float(a @ x / a.sum())}], {"mean": float(x.mean())}, owners, owners, 800, 0
    )["mean"]
    error = x.std(ddof=1) / np.sqrt(200)
    assert found.error == pytest.approx(error, rel=0.1)
    assert found.low == pytest.approx(x.mean() - 1.96 * error, abs=0.4 * error)
    assert found.high == pytest.approx(x.mean() + 1.96 * error, abs=0.4 * error)


@pytest.mark.parametrize(
    ("metric", "size", "low", "high"),
    [
        ("kid", (30, 40, 60), 0.75, 1.35),
        ("kid", (60, 60, 8), 0.75, 1.35),
        ("frechet", (60, 60, 8), 0.75, 1.35),
        ("frechet", (30, 40, 60), 1.0, 2.0),  # fewer samples than features: wider than needed, never narrower
    ],
)
def test_the_standard_error_is_the_spread_of_new_draws(metric, size, low, high):
    weighted = {"frechet": weighted_frechet, "kid": weighted_kernel_distance}[metric]
    direct = {"frechet": frechet_distance, "kid": kernel_distance}[metric]
    owners = [[str(i) for i in range(n)] for n in size[:2]]
    spread = np.std([direct(*sets(*size, seed=seed)) for seed in range(150)])
    errors = []
    for seed in range(6):
        a, b = sets(*size, seed=1000 + seed)
        found = intervals([weighted(Gram.of(a, b))], {"": direct(a, b)}, *owners, 60, seed)
        errors.append(found[""].error)
    assert low < np.mean(errors) / spread < high


def test_one_subject_has_no_interval():
    assert intervals([lambda a, b: {"x": 1.0}], {"x": 1.0}, ["a", "b"], ["c", "c"], 10, 0) == {}
