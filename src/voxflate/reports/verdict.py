"""Decides which row of a table is best, if it can be: by a paired test over seeds, else by intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxflate.evaluation.seeds import LEVEL, paired
from voxflate.reports.copying import cautions, may_copy
from voxflate.reports.rows import Row


@dataclass(frozen=True)
class Verdict:
    """The verdict on a table's best row.

    Attributes:
        winner: Label of the row that is below every other row; None if undecided.
        sentences: The verdict in sentences, with a warning for every row that may consist of copies.
    """

    winner: str | None
    sentences: tuple[str, ...]


def verdict(rows: Sequence[Row], metric: str) -> Verdict:
    """Name the row with the lowest mean, if it is below all others.

    Two rows that share at least two seeds are compared by a paired t-test over the seeds, other rows by
    whether the 95% intervals of their runs overlap.

    Args:
        rows: Rows of one table (`rows.separated`), so that they may be compared.
        metric: Name of a metric of which lower is better.
    """
    known = [(found.mean, row) for row in rows if (found := row.spread(metric)) is not None]
    warnings = cautions(rows)
    if len(known) < 2:
        return Verdict(None, tuple(warnings))
    known.sort(key=lambda pair: pair[0])
    (lowest, best), others = known[0], known[1:]
    comparisons = [_compare(best, row, metric) for _, row in others]
    texts = [
        f"against {row.label}, {mean:.4g}: {text}"
        for (mean, row), (_, text) in zip(others, comparisons, strict=True)
    ]
    settled = all(below for below, _ in comparisons)
    first = (
        f"{best.label} is closest to the real volumes by {metric}, {lowest:.4g}"
        if settled
        else f"No winner: {best.label} has the lowest {metric}, {lowest:.4g}, but is not below every other "
        "row beyond chance"
    )
    doubt = f"; {best.label} may copy real volumes" if may_copy(best) else ""
    sentences = [f"{first} ({'; '.join(texts)}){doubt}.", *warnings]
    if min(len(row.runs) for _, row in known) == 1:
        sentences.append("A row with one seed says nothing about other seeds: train at least three.")
    return Verdict(best.label if settled else None, tuple(sentences))


def _compare(best: Row, other: Row, metric: str) -> tuple[bool, str]:
    """Whether a row is below another one, and by which evidence."""
    test = paired(best.by_seed(metric), other.by_seed(metric))
    if test is not None:
        settled = test.difference < 0 and test.p < LEVEL
        return settled, f"paired test over {test.n} seeds, p = {test.p:.2g}"
    mine, its = _ends(best, metric), _ends(other, metric)
    if mine is None or its is None:
        return False, "fewer than two shared seeds and no intervals"
    apart = mine[1] < its[0]
    return apart, f"the 95% intervals {'do not overlap' if apart else 'overlap'}"


def _ends(row: Row, metric: str) -> tuple[float, float] | None:
    """The range covered by the intervals of a row's runs."""
    found = [run.assessment.metrics.get(metric) for run in row.runs]
    ends = [(m.low, m.high) for m in found if m is not None and m.low is not None and m.high is not None]
    if len(ends) < len(found):
        return None
    return min(low for low, _ in ends), max(high for _, high in ends)
