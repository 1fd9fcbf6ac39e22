from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from voxflate.evaluation.seeds import paired, spread

values = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 3)), min_size=2, max_size=8)


def test_one_seed_has_no_deviation() -> None:
    assert spread([3.0]).deviation is None
    found = spread([1.0, 2.0, 3.0])
    assert (found.mean, found.deviation, found.n) == (2.0, 1.0, 3)


@given(values, st.integers(0, 99))
def test_the_paired_test_is_the_one_of_the_differences(first: list[float], shift: int) -> None:
    second = [value + (number * 7 + shift) % 5 for number, value in enumerate(reversed(first))]
    found = paired(dict(enumerate(first)), dict(enumerate(second)))
    assert found is not None
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if max(differences) - min(differences) < 1e-6:
        return
    wanted = stats.ttest_1samp(differences, 0.0)
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-6, abs=1e-12)
    interval = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)


def test_only_seeds_that_both_have_count() -> None:
    found = paired({0: 1.0, 1: 2.0, 9: 100.0}, {1: 1.0, 0: 0.5, 5: -100.0})
    assert found is not None
    assert (found.n, found.difference) == (2, 0.75)
    assert paired({0: 1.0, 1: 2.0}, {0: 1.0, 2: 2.0}) is None


def test_equal_differences_are_no_division_by_zero() -> None:
    same = paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    shifted = paired({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0})
    assert same is not None
    assert shifted is not None
    assert (same.p, shifted.p, shifted.difference) == (1.0, 0.0, -1.0)
