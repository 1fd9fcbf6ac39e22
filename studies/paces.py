"""How long our rows take, so that they can be compared at equal seconds.

Runs of one row have the same work to do. Other work on the machine can slow them down, but never makes one
quicker, so a row's time is that of its quickest runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.cells import number_cell
from studies.collect import Entry, results_of
from studies.settings import row_key, twin_of
from voxflate.reports.results import Result


@dataclass(frozen=True)
class Pace:
    """The time of a row.

    Attributes:
        before: Seconds of the quickest 2D run of the kind that the row starts from; 0 without one.
        per_kimg: Seconds per kimg in 3D, of its quickest run.
        speeds: Images/s of its runs in 3D, from the slowest to the quickest, as printed.
    """

    before: float
    per_kimg: float
    speeds: str

    def end(self, result: Result) -> float:
        """Seconds to the last snapshot of a run, those in 2D included."""
        return self._at(result.curve("seconds")[-1][0])

    def reached(self, result: Result, limit: float) -> float:
        """Kimg of the last snapshot within so many seconds, those in 2D included."""
        return max((kimg for kimg, _ in result.curve("seconds") if self._at(kimg) <= limit), default=0.0)

    def _at(self, kimg: float) -> float:
        return self.before + kimg * self.per_kimg


def paces_of(entries: Sequence[Entry], twins: Mapping[str, Result]) -> dict[str, Pace]:
    """The pace of every row, by key.

    Args:
        entries: Rows whose runs have metrics at snapshots, and a known 2D run if they started from one.
        twins: Results of 2D runs by name.
    """
    in_2d: dict[str, float] = {}
    for result in results_of(entries):
        if twin := twin_of(result, twins):
            kind = row_key(result, twins)[1]
            in_2d[kind] = min(twin.seconds, in_2d.get(kind, twin.seconds))
    return {entry.key: _pace(entry, in_2d.get(row_key(entry.results[0], twins)[1], 0.0)) for entry in entries}


def _pace(entry: Entry, before: float) -> Pace:
    per_kimg = sorted(each.seconds / each.n_images * 1000 for each in entry.results)
    speeds = dict.fromkeys(number_cell(1000 / each, 3) for each in (per_kimg[-1], per_kimg[0]))
    return Pace(before, per_kimg[0], " to ".join(speeds))
