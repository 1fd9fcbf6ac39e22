"""What a row took: images and time in 3D, and those of the 2D run that it starts from, side by side.

A row that starts from a 2D run and one from scratch cost the same only if both are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from studies.cells import hours_cell, kimg_cell
from studies.collect import Entry, results_of
from studies.layout import COSTS, Column, plain_column
from studies.settings import joined_by_name, twin_of, twin_problem
from voxflate.reports.results import Result
from voxflate.reports.tables import DASH, UNKNOWN, mean_cell

BUDGET = ("best kimg", "3D kimg", "2D kimg", "3D time", "2D + 3D time")
"""Headings: images shown up to the measured snapshots, in 3D and in 2D; time in 3D alone, and with 2D."""


def budget(entry: Entry, twins: Mapping[str, Result], wanted: Sequence[str] = BUDGET) -> list[str]:
    """The cells of a row, means over its seeds, under the wanted headings.

    Args:
        entry: The row.
        twins: Results of 2D runs by name.
        wanted: Some of `BUDGET`.
    """
    runs = entry.results
    in_2d = [_in_2d(each, twins) for each in runs]
    both = [
        None if seconds is None else each.seconds + seconds
        for each, (_, seconds) in zip(runs, in_2d, strict=True)
    ]
    cells = {
        "best kimg": mean_cell([each.evaluations[-1].facts["n_images"] / 1000 for each in runs], kimg_cell),
        "3D kimg": kimg_cell(runs[0].settings["training.kimg"]),
        "2D kimg": mean_cell([kimg for kimg, _ in in_2d], kimg_cell)
        if any(each.twin for each in runs)
        else DASH,
        "3D time": mean_cell([each.seconds for each in runs], hours_cell),
        "2D + 3D time": mean_cell(both, hours_cell),
    }
    return [cells[heading] for heading in wanted]


def budget_columns(
    entries: Sequence[Entry], twins: Mapping[str, Result], wanted: Sequence[str] = BUDGET, group: str = COSTS
) -> list[Column]:
    """The columns of a table for these rows."""
    cells = zip(*(budget(each, twins, wanted) for each in entries), strict=True)
    return [plain_column(heading, column, group) for heading, column in zip(wanted, cells, strict=True)]


def budget_notes(entries: Sequence[Entry], twins: Mapping[str, Result]) -> list[str]:
    """What the cells of some rows include, and whose 2D runs are not known."""
    found = [
        "3D time is that of the 3D training alone. 2D + 3D time adds that of the whole 2D run that a row "
        f"starts from, also where rows or seeds share it. 2D kimg {DASH}: no 2D run. Time for metrics does "
        "not count."
    ]
    problems: dict[str, list[str]] = {}
    for each in results_of(entries):
        if problem := twin_problem(each, twins):
            problems.setdefault(problem, []).append(each.name)
    for problem, names in problems.items():
        found.append(f"{UNKNOWN}: the result of the 2D run {problem} ({', '.join(names)}).")
    return [*found, *joining_notes(entries, twins)]


def joining_notes(entries: Sequence[Entry], twins: Mapping[str, Result]) -> list[str]:
    """Which rows' 2D runs are only known by name."""
    names = joined_by_name(results_of(entries), twins)
    said = "Joined with the results of their 2D runs by name, because a hash of the weights is not on record"
    return [f"{said}: {', '.join(names)}."] if names else []


def _in_2d(result: Result, twins: Mapping[str, Result]) -> tuple[float | None, float | None]:
    """Kimg and seconds of the 2D run that a run started from: 0 without one, None if not known."""
    twin = twin_of(result, twins)
    if twin is not None:
        return twin.n_images / 1000, twin.seconds
    return (result.twin.get("kimg"), None) if result.twin else (0.0, 0.0)
