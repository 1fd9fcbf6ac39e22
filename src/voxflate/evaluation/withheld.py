"""How often the audit's thresholds flag people whom they do not know.

The lowest distances of the real volumes set the thresholds. So the share of the same volumes below them is
small by construction, and says nothing about others. Here people are withheld from the training volumes and
from the thresholds, and then audited like generated volumes (decision 0191).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALLOWED = 0.01
"""Share of the real volumes that set the thresholds which may lie below them, over all measures."""

MEASURES = ("correlation", "lead", "features")
_WITHHELD = 0.1
_SPLITS = 200
_ROUNDING = 1e-6
"""Of correlations, which are float32: those of two copies may be 1 or slightly above."""
_FEWEST = 10
"""With fewer people, a tenth is less than one person."""


@dataclass(frozen=True)
class Similarities:
    """Real volumes compared with all training volumes.

    Attributes:
        correlations: [r, n].
        gaps: Distances of the features, [r, n].
        people: The people of the r volumes, [r].
        owners: The people of the n training volumes, [n].
    """

    correlations: NDArray[np.float64]
    gaps: NDArray[np.float64]
    people: NDArray[np.str_]
    owners: NDArray[np.str_]

    def distances(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The three measures of the chosen volumes against the chosen training volumes of other people.

        Args:
            rows: Which volumes, [r].
            columns: Which training volumes, [n]; those of at least 3 people.

        Returns:
            Distances in the order of `MEASURES`, [chosen rows, 3].
        """
        owners = self.owners[columns]
        own = self.people[rows][:, None] == owners
        values = np.where(own, -np.inf, self.correlations[rows][:, columns])
        gaps = np.where(own, np.inf, self.gaps[rows][:, columns])
        return np.stack([1 - values.max(1), leads(values, owners), gaps.min(1)], axis=1)


def leads(values: NDArray[np.float64], owners: NDArray[np.str_]) -> NDArray[np.float64]:
    """How much nearer the nearest person is than the second nearest: 1 not at all, towards 0 for a copy.

    Args:
        values: Correlations, [r, n]; minus infinity where they do not count.
        owners: The people of the n volumes, [n].
    """
    nearest = owners[values.argmax(1)]
    others = np.where(owners == nearest[:, None], -np.inf, values).max(1)
    near, next_one = (np.maximum(1 - each, _ROUNDING) for each in (values.max(1), others))
    result: NDArray[np.float64] = near / next_one
    return result


def thresholds_of(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distances below which a volume is flagged, [3], from `distances` of non-copies, [r, 3]."""
    result: NDArray[np.float64] = np.quantile(distances, ALLOWED / len(MEASURES), axis=0)
    return result


def withheld_share(real: Similarities, seed: int) -> float | None:
    """Share of withheld people's volumes that are flagged, over random tenths of the people.

    Returns:
        The mean share; None if there are too few people to withhold any.
    """
    people = np.unique(real.people)
    if len(people) < _FEWEST:
        return None
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(_SPLITS):
        withheld = rng.choice(people, round(_WITHHELD * len(people)), replace=False)
        test, known = np.isin(real.people, withheld), ~np.isin(real.owners, withheld)
        if len(np.unique(real.owners[known])) < 3:
            continue
        flagged = real.distances(test, known) < thresholds_of(real.distances(~test, known))
        shares.append(flagged.any(1).mean())
    return float(np.mean(shares)) if shares else None
