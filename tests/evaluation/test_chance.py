"""A generator that never copies is seldom said to copy, whatever its thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from tests.evaluation.test_withheld import N_TRAIN, a_set
from voxflate.evaluation.chance import alarms_interval, share_interval, verdict
from voxflate.evaluation.withheld import thresholds_of, withheld_share


def test_a_generator_of_new_people_is_seldom_told_apart_from_chance() -> None:
    found, in_interval, apart_if_exact = [], [], []
    for seed in range(60):
        known, new = a_set(seed)
        people = len(known.people)
        everything = np.ones(people, bool), np.ones(N_TRAIN, bool)
        limits = thresholds_of(known.distances(*everything))
        fresh = np.ones(len(new.people), bool), everything[1]
        flagged = int((new.distances(*fresh) < limits).any(1).sum())
        alarms = withheld_share(known, seed)
        assert alarms is not None
        found.append(verdict(flagged, len(new.people), alarms, people))
        low, high = alarms_interval(alarms, people)
        in_interval.append(low <= flagged / len(new.people) <= high)
        tails = binom.cdf(flagged, len(new.people), alarms), binom.sf(flagged - 1, len(new.people), alarms)
        apart_if_exact.append(min(tails) < 0.025)
    assert found.count("unclear") >= 0.9 * len(found)
    assert found.count("more") <= 0.05 * len(found)
    assert np.mean(in_interval) >= 0.8
    assert np.mean(apart_if_exact) > 0.15  # why the share of false alarms is not taken as exact


@pytest.mark.parametrize(
    ("flagged", "volumes", "share", "people", "found"),
    [
        (17, 444, 0.019, 148, "unclear"),
        (60, 444, 0.019, 148, "more"),
        (0, 444, 0.05, 1000, "fewer"),
        (22, 444, 0.05, 1000, "unclear"),
        (40, 40, 0.0, 20, "more"),
        (0, 40, 0.0, 20, "unclear"),
        (40, 40, 1.0, 20, "unclear"),
        (0, 40, 1.0, 20, "fewer"),
    ],
)
def test_the_verdict(flagged: int, volumes: int, share: float, people: int, found: str) -> None:
    assert verdict(flagged, volumes, share, people) == found


def test_intervals_hold_their_share_and_narrow_with_people() -> None:
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert share_interval(10, 10) == pytest.approx((0.025**0.1, 1))
    assert 0 < alarms_interval(1.0, 20)[0] < alarms_interval(1.0, 20)[1] <= 1
    few, many = alarms_interval(0.04, 100), alarms_interval(0.04, 1000)
    assert few[0] < many[0] < 0.04 < many[1] < few[1]
