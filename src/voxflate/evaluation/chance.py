"""Whether an audit flags more volumes than it would flag of people whom it does not know (decision 0216).

The share of flagged volumes is known from the volumes, the share of false alarms from the people of the set.
Those who are flagged when they are withheld come in pairs, because the two people closest to each other are
each other's nearest. So the people count as half as many independent observations.
"""

from __future__ import annotations

from scipy import stats

COVERAGE = 0.95
"""Coverage of the intervals; a share is clearly larger or smaller outside that of chance."""

VERDICTS = {
    "more": "clearly more than by chance",
    "unclear": "not told apart from chance",
    "fewer": "fewer than by chance",
}
"""A verdict -> its words."""

_TAIL = (1 - COVERAGE) / 2
_PER_OBSERVATION = 2

Interval = tuple[float, float]


def share_interval(flagged: int, volumes: int) -> Interval:
    """The interval of Clopper and Pearson for a share of independent volumes.

    Args:
        flagged: How many are flagged.
        volumes: Of how many.
    """
    found = stats.binomtest(flagged, volumes).proportion_ci(COVERAGE)
    return float(found.low), float(found.high)


def alarms_interval(share: float, people: int) -> Interval:
    """The interval of a share of false alarms.

    Args:
        share: Of the withheld people's volumes.
        people: Number of people, withheld in turn.
    """
    a, b = _observed(share, people)
    return float(stats.beta.ppf(_TAIL, a, b)), float(stats.beta.ppf(1 - _TAIL, a, b))


def verdict(flagged: int, volumes: int, share: float, people: int) -> str:
    """One of `VERDICTS`: whether chance explains the number of flagged volumes.

    Args:
        flagged: How many volumes are flagged.
        volumes: Of how many.
        share: Share of false alarms.
        people: Number of people from which it is known.
    """
    by_chance = stats.betabinom(volumes, *_observed(share, people))
    if by_chance.sf(flagged - 1) < _TAIL:
        return "more"
    return "fewer" if by_chance.cdf(flagged) < _TAIL else "unclear"


def _observed(share: float, people: int) -> tuple[float, float]:
    """Independent false alarms and the rest of the observations, at least half of one each."""
    observations = people / _PER_OBSERVATION
    alarms = min(max(share * observations, 0.5), observations - 0.5)
    return alarms, observations - alarms
