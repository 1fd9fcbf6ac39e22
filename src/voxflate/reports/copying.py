"""Tells of rows that may consist of copies of real volumes.

Distances do not see copies: a set of slightly blurred training volumes is closer to the real ones than any
generator. PSNR to the nearest real volume sees them if most volumes are copies. A few copies among many do
not raise its mean; they need `voxflate audit`, whose result counts where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from voxflate.evaluation.assessment import Metric
from voxflate.evaluation.chance import VERDICTS
from voxflate.evaluation.pairs import MOST_PAIRS
from voxflate.reports.rows import EvaluatedRun, Row

NEAREST = "psnr-nearest"
_LEAST = 3.0  # dB above real people: half of the squared error
_SPREADS = 3.0  # standard deviations of real people
_ENDS = 1.96  # standard errors from the mean to the end of a 95% interval


def highest(metric: Metric, people: int) -> float | None:
    """The highest mean PSNR to the nearest real volume that is not suspicious; None if people are unknown.

    The mean of all real volumes is nobody's copy, and it is 1.8 to 2.6 dB nearer to a real volume than
    people are to each other (six sets of brains, heads and hippocampi). A set of average people alone could
    be nearer still where people differ much, so their standard deviation counts, too: it is 0.7 to 1.6 dB
    there. Trained generators are at most 1.0 dB nearer, blurred copies of training volumes 10 dB (decision
    0214).

    Args:
        metric: The metric with its floor, which is between real people; the floor's interval gives the
            standard deviation.
        people: Number of people in the real volumes, of whom at most `MOST_PAIRS` are in the floor.
    """
    if metric.real is None:
        return None
    if metric.real_low is None or metric.real_high is None:
        return metric.real + _LEAST
    deviation = (metric.real_high - metric.real_low) / (2 * _ENDS) * sqrt(min(people, MOST_PAIRS))
    return metric.real + max(_LEAST, _SPREADS * deviation)


def may_copy(row: Row) -> bool:
    """Whether the volumes of one of a row's runs may be copies."""
    return any(_reasons(run) for run in row.runs)


def cautions(rows: Sequence[Row]) -> list[str]:
    """A warning for every such run."""
    found = []
    for row in rows:
        for run in row.runs:
            if reasons := _reasons(run):
                name = row.label if len(row.runs) == 1 else run.label
                advice = "" if run.audit else "; look for copies with voxflate audit before you compare it"
                found.append(f"Warning: {name} may copy real volumes: {' and '.join(reasons)}{advice}.")
    return found


def _reasons(run: EvaluatedRun) -> list[str]:
    found = []
    metric = run.assessment.metrics.get(NEAREST)
    people = run.facts.get("n-real-subjects", run.facts["n-real"])  # older evaluations only count volumes
    limit = None if metric is None else highest(metric, people)
    if metric is not None and limit is not None and metric.value > limit:
        found.append(
            "its volumes are nearer to them than people are to each other (PSNR to the nearest one "
            f"{metric.value:.1f} dB, between people {metric.real:.1f} dB)"
        )
    if run.audit is not None and run.audit.get("verdict") == "more":
        found.append(f"the audit flags {run.flagged:.1%} of its volumes, {VERDICTS['more']}")
    return found
