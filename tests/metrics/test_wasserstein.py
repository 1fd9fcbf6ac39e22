import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from voxflate.metrics.wasserstein import wasserstein_1

values = st.lists(st.floats(-100, 100), min_size=1, max_size=8).map(np.array)


@given(values, values)
def test_it_is_the_distance_of_scipy(a, b):
    np.testing.assert_allclose(wasserstein_1(a, b), wasserstein_distance(a, b), atol=1e-9)
    assert wasserstein_1(a, a) == 0


@given(values, st.floats(-10, 10))
def test_a_shift_is_as_far_as_it_is_long(a, shift):
    np.testing.assert_allclose(wasserstein_1(a, a + shift), abs(shift), atol=1e-9)
