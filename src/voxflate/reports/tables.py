"""Tables of evaluated runs: one in the layout of the paper's Tables 6, 7 and 8, and one to read with it.

A table has rows that may be compared (`rows.separated`). A row of several seeds has their mean and standard
deviation, a row of one run its 95% interval. The best value of a column is bold if there are two rows or
more; `verdict` decides whether it is better beyond chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from voxflate.config.paper_rows import PaperRow
from voxflate.evaluation.assessment import Metric
from voxflate.evaluation.seeds import spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.table import better
from voxflate.reports.copying import NEAREST
from voxflate.reports.rows import EvaluatedRun, Row

DASH = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
FLOOR_ROW = "real vs real"
UNKNOWN = "?"
"""In a cell whose number exists, but is not among the results."""
BUDGET = ("2D kimg", "3D kimg", "2D time", "3D time")
"""The last headings of `beside`."""
_PLANES = ("ax", "sag", "cor", "avg")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: As printed.
        metric: Our metric.
        paper: The paper's metric.
        digits: Significant digits.
        unit: Unit of the values, for the LaTeX heading.
    """

    heading: str
    metric: str
    paper: Callable[[PaperRow], float | None] = lambda row: None
    digits: int = 3
    unit: str = ""


def columns(extractor: str) -> list[Column]:
    """The paper's columns and the additional ones.

    Args:
        extractor: Name of the main feature network.
    """
    stem = frechet_name(extractor)
    title = "FID" if stem == "fid" else "Frechet"

    def fid(place: int) -> Callable[[PaperRow], float]:
        return lambda row: row.fid[place]

    found = [Column(f"{title}-{plane}", f"{stem}-{plane}", fid(i)) for i, plane in enumerate(_PLANES)]
    found.append(Column("KID-avg", f"kid-{extractor}-avg"))
    found.append(Column("PSNR", "psnr", lambda row: row.psnr, 4, "dB"))
    found.append(Column("MS-SSIM", "ms-ssim"))
    found.append(Column("MS-SSIM (Kwon)", "ms-ssim-kwon2019", lambda row: row.ms_ssim))
    return found


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The columns of a table, by the main feature network of its evaluations."""
    return columns(_extractor(rows))


def columns_beside(rows: Sequence[Row]) -> list[Column]:
    """The columns of metrics of the second table: variety, people who were not trained on, nearness."""
    name = _extractor(rows)
    return [
        Column("precision", f"precision-{name}-avg"),
        Column("recall", f"recall-{name}-avg"),
        Column("KID-heldout", f"kid-{name}-heldout-avg"),
        Column("PSNR-nearest", NEAREST, digits=4, unit="dB"),
    ]


def _extractor(rows: Sequence[Row]) -> str:
    return str(rows[0].first.facts["extractors"][0]["name"])


def table(
    rows: Sequence[Row], wanted: Sequence[PaperRow] = (), marked: str = ""
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the floor, the runs with their intervals, then rows of the paper, each once.

    Args:
        rows: At least one; all belong to one table.
        wanted: Rows of the paper to print even if no run reproduces them.
        marked: Text before and after the best value of a column, such as "**".
    """
    chosen = columns_of(rows)
    headings = ["Model", "seeds", "#param", *(column.heading for column in chosen)]
    lines = [[FLOOR_ROW, DASH, DASH, *_floors(rows, chosen)]]
    for row, cells in zip(rows, _cells(rows, chosen, marked), strict=True):
        lines.append([row.label, str(len(row.runs)), _millions(row.first), *cells])
    for paper in paper_rows(rows, wanted):
        count = DASH if paper.millions is None else f"{paper.millions:.3f}M"
        printed = [_number(column.paper(paper), column.digits) for column in chosen]
        lines.append([_paper_label(paper), DASH, count, *printed])
    return headings, lines


def beside(rows: Sequence[Row], marked: str = "") -> tuple[list[str], list[list[str]]]:
    """Headings and rows of what to read with `table`: variety, copies, budgets of both trainings.

    Args:
        rows: As for `table`.
        marked: As for `table`.
    """
    chosen = columns_beside(rows)
    headings = ["Model", *(column.heading for column in chosen), "flagged", *BUDGET]
    alarms = [share for row in rows for run in row.runs if (share := run.false_alarms) is not None]
    unseen = f"{fmean(alarms):.1%}" if alarms else DASH
    lines = [[FLOOR_ROW, *_floors(rows, chosen), unseen, *(DASH for _ in BUDGET)]]
    for row, cells in zip(rows, _cells(rows, chosen, marked), strict=True):
        lines.append([row.label, *cells, _flagged(row), *_budget(row)])
    return headings, lines


def _floors(rows: Sequence[Row], chosen: Sequence[Column]) -> list[str]:
    metrics = rows[0].first.assessment.metrics
    return [_floor(metrics.get(column.metric), column.digits) for column in chosen]


def _cells(rows: Sequence[Row], chosen: Sequence[Column], marked: str) -> list[list[str]]:
    """The metrics of every row, the best ones marked."""
    best = [_best(rows, column) for column in chosen]
    found = []
    for place, row in enumerate(rows):
        cells = [(_cell(row, column), place == winner) for column, winner in zip(chosen, best, strict=True)]
        found.append([f"{marked}{cell}{marked}" if is_best else cell for cell, is_best in cells])
    return found


def _best(rows: Sequence[Row], column: Column) -> int | None:
    found = [row.spread(column.metric) for row in rows]
    floor = rows[0].first.assessment.metrics.get(column.metric)
    means = [None if each is None else each.mean for each in found]
    return best_of(means, column.metric, None if floor is None else floor.real)


def best_of(values: Sequence[float | None], metric: str, real: float | None) -> int | None:
    """The place of the best of some values of a metric; None if there is nothing to choose, or two are best.

    >>> best_of([3.0, None, 2.0], "kid-random-avg", None), best_of([3.0, None], "kid-random-avg", None)
    (2, None)
    >>> best_of([0.0, 0.0], "recall-random-avg", None), best_of([2.0, 2.0, 1.0], "recall-random-avg", None)
    (None, None)
    >>> best_of([0.6, 0.9], "ms-ssim", 0.7), best_of([0.6, 0.9], "psnr", 0.7)
    (0, None)

    Args:
        values: Of every row.
        metric: Its name.
        real: That of real volumes.
    """
    known = [(place, value) for place, value in enumerate(values) if value is not None]
    side = better(metric)
    if len(known) < 2 or side == "none" or (side == "real" and real is None):
        return None

    def badness(value: float) -> float:
        if side == "real" and real is not None:
            return abs(value - real)
        return -value if side == "higher" else value

    ranked = sorted((badness(value), place) for place, value in known)
    return None if ranked[0][0] == ranked[1][0] else ranked[0][1]


def paper_rows(rows: Sequence[Row], wanted: Sequence[PaperRow]) -> list[PaperRow]:
    """The rows that the runs reproduce and the wanted ones, without repeats."""
    found: list[PaperRow] = []
    for paper in (*(row.first.paper for row in rows), *wanted):
        if paper is not None and paper not in found:
            found.append(paper)
    return found


def _paper_label(row: PaperRow) -> str:
    """The last table with the row, and the row's name there, such as "Table 7: 3D-StyleGAN2"."""
    number = max(row.labels)
    return f"Table {number}: {row.labels[number]}"


def significant(value: float, digits: int) -> str:
    """A number with all its significant digits, and without a point at the end.

    >>> significant(3.5, 3), significant(99.97, 3)
    ('3.50', '100')
    """
    return f"{value:#.{digits}g}".rstrip(".")


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return DASH
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.1f}"
    return significant(value, digits) if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def _cell(row: Row, column: Column) -> str:
    """Mean and deviation of several seeds, or the value of one with its interval on a second line."""
    found = row.spread(column.metric)
    if found is None:
        return DASH
    if found.deviation is None:
        return _with_interval(row.metric(column.metric), column.digits)
    return f"{_number(found.mean, column.digits)} {PLUS_MINUS} {_number(found.deviation, 2)}"


def _with_interval(metric: Metric | None, digits: int) -> str:
    if metric is None:
        return DASH
    text = _number(metric.value, digits)
    if metric.low is None or metric.high is None:
        return text
    return f"{text}\n[{_number(metric.low, digits)}, {_number(metric.high, digits)}]"


def _floor(metric: Metric | None, digits: int) -> str:
    if metric is None or metric.real is None:
        return DASH
    if metric.real_low == metric.real_high:  # of pairs, without replicates
        return _number(metric.real, digits)
    return _with_interval(Metric(metric.real, metric.real_low, metric.real_high), digits)


def _millions(run: EvaluatedRun) -> str:
    return DASH if run.parameters is None else f"{run.parameters / 1e6:.3f}M"


def _flagged(row: Row) -> str:
    """Share of flagged volumes, the mean over the seeds; a dash if one was not audited."""
    known = [run.flagged for run in row.runs if run.flagged is not None]
    if len(known) < len(row.runs):
        return DASH
    found = spread(known)
    return f"{found.mean:.1%}" + ("" if found.deviation is None else f" {PLUS_MINUS} {found.deviation:.1%}")


def _budget(row: Row) -> list[str]:
    """Kimg and time of the 2D and the 3D training, means over the seeds."""
    if row.first.is_foreign:
        return [DASH for _ in BUDGET]
    facts = [run.facts for run in row.runs]
    before = [each.get("twin_n_images") for each in facts]
    none = not any(before) and None not in before  # no 2D run
    return [
        DASH if none else mean_cell(before, _kimg),
        mean_cell([each["n_images"] for each in facts], _kimg),
        DASH if none else mean_cell([each.get("twin_seconds") for each in facts], duration),
        mean_cell([each.get("training_seconds") for each in facts], duration),
    ]


def mean_cell(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """A mean over seeds: unknown if one is."""
    known = [value for value in values if value is not None]
    return shown(fmean(known)) if len(known) == len(values) else UNKNOWN


def _kimg(images: float) -> str:
    return f"{round(images / 1000, 3):g}"


def duration(seconds: float) -> str:
    """Seconds up to ten minutes, then hours.

    >>> duration(75), duration(5400)
    ('75 s', '1.50 h')
    """
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"
