import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from voxflate._system.errors import VoxflateError
from voxflate.metrics import frechet_distance, frechet_distance_from_moments


def samples(n, f, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, f)) @ rng.normal(size=(f, f)) + shift


def reference(a, b):
    """The formula as it is written, with scipy's matrix square root."""
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.real(linalg.sqrtm(covariance_a @ covariance_b))
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.trace(root)


sizes = st.integers(2, 40)


@settings(deadline=None, max_examples=40)
@given(n=sizes, f=sizes, seed=st.integers(0, 999))
def test_equal_sets_are_at_zero(n, f, seed):
    x = samples(n, f, seed)
    scale = np.square(x - x.mean(0)).sum() / (n - 1)
    assert frechet_distance(x, x) <= 1e-12 * scale
    assert frechet_distance(x, x[::-1]) <= 1e-12 * scale


@settings(deadline=None, max_examples=40)
@given(n=sizes, m=sizes, f=sizes, seed=st.integers(0, 999))
def test_it_is_symmetric_and_not_negative(n, m, f, seed):
    a, b = samples(n, f, seed), samples(m, f, seed + 1, shift=0.5)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, b) >= 0


@settings(deadline=None, max_examples=20)
@given(f=st.integers(2, 12), seed=st.integers(0, 999))
def test_it_equals_the_matrix_square_root(f, seed):
    a, b = samples(5 * f, f, seed), samples(6 * f, f, seed + 1, shift=1.0)
    assert frechet_distance(a, b) == pytest.approx(reference(a, b), rel=1e-6)


def test_moments_and_samples_give_the_same():
    a, b = samples(9, 30, 0), samples(50, 30, 1, shift=1.0)
    moments = (a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))
    # The covariance of 9 samples has 21 eigenvalues of zero, whose rounding is rooted.
    assert frechet_distance(a, b) == pytest.approx(frechet_distance_from_moments(*moments), rel=1e-6)


def test_commuting_gaussians_have_a_closed_form():
    mean_a, mean_b = np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 5.0])
    deviations_a, deviations_b = np.array([1.0, 2.0, 0.0]), np.array([3.0, 2.0, 1.0])
    expected = np.square(mean_a - mean_b).sum() + np.square(deviations_a - deviations_b).sum()
    got = frechet_distance_from_moments(mean_a, np.diag(deviations_a**2), mean_b, np.diag(deviations_b**2))
    assert got == pytest.approx(expected, rel=1e-12)


def test_fewer_samples_than_features_know_a_shift_and_a_scale():
    a = samples(20, 500, 0)
    spread = np.square(a - a.mean(0)).sum() / 19
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 500, rel=1e-9)
    around_mean = a.mean(0) + 3 * (a - a.mean(0))
    assert frechet_distance(a, around_mean) == pytest.approx(4 * spread, rel=1e-9)


def test_constant_samples_leave_mean_and_trace():
    a, constant = samples(10, 4, 0), np.full((5, 4), 0.25)
    expected = np.square(a.mean(0) - 0.25).sum() + np.trace(np.cov(a, rowvar=False))
    assert frechet_distance(a, constant) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(constant, constant) == 0


def test_float32_features_are_computed_in_float64():
    a = samples(30, 8, 0).astype(np.float32) + np.float32(1000)
    b = samples(30, 8, 1).astype(np.float32) + np.float32(1000)
    assert frechet_distance(a, b) == frechet_distance(a.astype(np.float64), b.astype(np.float64))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least 2 samples"),
        (np.zeros(3), np.zeros((5, 3)), "at least 2 samples"),
        (np.zeros((5, 3)), np.zeros((5, 4)), "got 3 and 4"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "NaN"),
        (np.full((5, 3), np.inf), np.zeros((5, 3)), "infinite"),
    ],
)
def test_bad_features_are_refused(a, b, message):
    with pytest.raises(VoxflateError, match=message):
        frechet_distance(a, b)
