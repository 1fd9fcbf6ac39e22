"""Turns measured networks into metrics with intervals, paired by subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxflate.evaluation.seeds import spread
from voxflate.evaluation.utility.cells import GENERATED, REAL, Measured
from voxflate.evaluation.utility.examples import Examples
from voxflate.evaluation.utility.tasks import Outcomes, Task, range_of
from voxflate.metrics.bootstrap import Interval, draw_counts, interval

REPLICATES = 1000
AGREEMENT = "agreement"
BLIND = "blind"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One metric of one setting.

    Attributes:
        task: The task learnt.
        arm: Training data; "blind" always gives the training set's most common answer, "agreement" is the
            result of networks trained on real examples for generated ones.
        real: Number of real subjects.
        generated: Number of generated volumes.
        metric: Name of the metric.
        value: Mean over the seeds.
        low: Lower end of its 95% interval over subjects and seeds; None with fewer than two subjects.
        high: Upper end.
        deviation: Standard deviation over the seeds; None for one seed.
        difference: This value minus that of real examples alone at the same number of subjects (for generated
            alone: at the largest number); None if there is nothing to compare with.
        difference_low: Lower end of its 95% interval; both sides draw the same subjects and seeds.
        difference_high: Upper end.
    """

    task: str
    arm: str
    real: int
    generated: int
    metric: str
    value: float
    low: float | None
    high: float | None
    deviation: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True)
class _Setting:
    """A metric of all seeds of a setting, [seeds], and its replicates, means over drawn seeds, [R]."""

    values: Array
    replicates: Array

    def interval(self) -> Interval | None:
        """The 95% interval of the mean over the seeds."""
        if not len(self.replicates):
            return None
        return interval(float(self.values.mean()), self.replicates.tolist())


def rows_of(
    measured: Sequence[Measured], tasks: Sequence[Task], heldout: Examples, seed: int = 0
) -> list[Row]:
    """Every metric of every setting, in the order of the cells, then the agreement.

    Args:
        measured: All cells of a design.
        tasks: The tasks learnt.
        heldout: The volumes that the networks were measured on.
        seed: Seed for drawing subjects.
    """
    ones, drawn = np.ones((1, len(heldout))), _draws(heldout.subjects, seed)
    found = []
    for task in tasks:
        own = [each for each in measured if each.cell.task == task.name]
        settings: dict[tuple[str, int, int], list[Outcomes]] = {}
        for each in own:
            settings.setdefault((each.cell.arm, each.cell.real, each.cell.generated), []).append(
                each.outcomes
            )
        metrics = {key: _metrics(task, outcomes, ones, drawn) for key, outcomes in settings.items()}
        most = max(real for _, real, _ in settings)
        for key, values in metrics.items():
            arm, real, _ = key
            base = metrics[REAL, most if arm == GENERATED else real, 0] if arm != REAL else {}
            found += [_row(task, key, name, setting, base.get(name)) for name, setting in values.items()]
        if blind := task.blind(heldout):
            values = _metrics(task, [blind], ones, drawn)
            found += [_row(task, (BLIND, 0, 0), name, setting, None) for name, setting in values.items()]
        found += _agreement(task, own, seed)
    return found


def _agreement(task: Task, measured: Sequence[Measured], seed: int) -> list[Row]:
    """Results of networks trained on real examples for generated ones; intervals over generated volumes."""
    outcomes = [each.agreement for each in measured if each.agreement is not None]
    if not outcomes:
        return []
    count = len(next(iter(outcomes[0].values())))
    drawn = _draws([str(number) for number in range(count)], seed)
    most = max(each.cell.real for each in measured)
    key = (AGREEMENT, most, count)
    metrics = _metrics(task, outcomes, np.ones((1, count)), drawn)
    return [_row(task, key, f"{AGREEMENT}-{name}", setting, None) for name, setting in metrics.items()]


def _draws(subjects: Sequence[str], seed: int) -> Array:
    """Weight of each volume per replicate, [R, n]; no replicates with fewer than two subjects."""
    rng = np.random.default_rng(seed)
    if len(set(subjects)) < 2:
        return np.empty((0, len(subjects)))
    return np.stack([draw_counts(subjects, rng) for _ in range(REPLICATES)])


def _metrics(task: Task, outcomes: Sequence[Outcomes], ones: Array, drawn: Array) -> Mapping[str, _Setting]:
    values = [task.metrics(each, ones) for each in outcomes]
    replicates = [task.metrics(each, drawn) for each in outcomes] if len(drawn) else []
    # The same seeds for every setting: a seed stands for initial weights and for the choice of real subjects.
    seeds = np.random.default_rng(0).integers(len(outcomes), size=(len(outcomes), len(drawn)))
    return {
        name: _Setting(
            np.array([each[name][0] for each in values]),
            np.take_along_axis(np.array([each[name] for each in replicates]), seeds, axis=0).mean(axis=0)
            if replicates
            else np.empty(0),
        )
        for name in values[0]
    }


def _row(task: Task, key: tuple[str, int, int], name: str, setting: _Setting, base: _Setting | None) -> Row:
    arm, real, generated = key
    found = spread(setting.values.tolist())
    ends, (lowest, highest) = setting.interval(), range_of(name)
    difference, gap = None, None
    if base is not None:
        difference = found.mean - float(base.values.mean())
        gap = _Setting(setting.values - base.values, setting.replicates - base.replicates).interval()
    return Row(
        task.name,
        arm,
        real,
        generated,
        name,
        found.mean,
        max(ends.low, lowest) if ends else None,
        min(ends.high, highest) if ends else None,
        found.deviation,
        difference,
        gap.low if gap else None,
        gap.high if gap else None,
    )
