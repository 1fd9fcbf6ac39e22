"""Tables of evaluated runs in the layout of the paper's Tables 6, 7 and 8, as text, Markdown and LaTeX.

A table has rows that may be compared (`rows.separated`). A row of several seeds has their mean and standard
deviation, a row of one run its 95% interval. The best value of a column is bold if there are two rows or
more; `verdict` decides whether it is better beyond chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voxflate.config.paper_rows import PaperRow
from voxflate.evaluation.assessment import Metric
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.table import better
from voxflate.reports.rows import EvaluatedRun, Row, difference
from voxflate.reports.verdict import verdict

DASH = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
FLOOR_ROW = "real vs real"
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
    return columns(rows[0].first.facts["extractors"][0]["name"])


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
    first = rows[0].first.assessment
    headings = ["Model", "seeds", "#param", *(column.heading for column in chosen), "kimg", "time"]
    floor = [_floor(first.metrics.get(column.metric), column.digits) for column in chosen]
    lines = [[FLOOR_ROW, DASH, DASH, *floor, DASH, DASH]]
    best = [_best(rows, column) for column in chosen]
    for row in rows:
        cells = [_cell(row, column) for column in chosen]
        cells = [
            f"{marked}{cell}{marked}" if row is winner else cell
            for cell, winner in zip(cells, best, strict=True)
        ]
        facts = row.first.facts
        kimg = DASH if row.first.is_foreign else f"{facts['n_images'] / 1000:g}"
        lines.append([row.label, str(len(row.runs)), _millions(row.first), *cells, kimg, _time(row)])
    for paper in _paper_rows(rows, wanted):
        count = DASH if paper.millions is None else f"{paper.millions:.3f}M"
        printed = [_number(column.paper(paper), column.digits) for column in chosen]
        lines.append([_paper_label(paper), DASH, count, *printed, DASH, DASH])
    return headings, lines


def _best(rows: Sequence[Row], column: Column) -> Row | None:
    """The row with the best value; None if there is nothing to choose."""
    known = [(found.mean, row) for row in rows if (found := row.spread(column.metric)) is not None]
    if len(known) < 2:
        return None
    side = better(column.metric)
    if side == "none":
        return None
    floor = rows[0].first.assessment.metrics.get(column.metric)
    real = floor.real if floor and side == "real" else None
    if side == "real" and real is None:
        return None

    def badness(value: float) -> float:
        if side == "higher":
            return -value
        return abs(value - real) if real is not None else value

    return min(known, key=lambda pair: badness(pair[0]))[1]


def _paper_rows(rows: Sequence[Row], wanted: Sequence[PaperRow]) -> list[PaperRow]:
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


def notes(rows: Sequence[Row], wanted: Sequence[PaperRow] = ()) -> list[str]:
    """Notes below the table."""
    facts = rows[0].first.facts
    runs = [run for row in rows for run in row.runs]
    found = [
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{'x'.join(map(str, facts['shape']))}, seed {facts['seed']}, {facts['slices']} slice(s) per plane. "
        f"In brackets: 95% bootstrap interval over subjects of one run ({facts['replicates']} draws). "
        f"{PLUS_MINUS}: standard deviation over seeds. The first row compares half of the real volumes "
        "with the other half, or pairs of real subjects."
    ]
    found += [
        f"Features: {network['name']}, {network['features']} numbers, weights (SHA-256) "
        f"{network['weights-sha256'][:12]}."
        for network in facts["extractors"]
    ]
    if _paper_rows(rows, wanted):
        found.append(
            "The rows of the paper (Table ...) are FIDs (Inception) on other data, at the snapshot with the "
            "best FID (decision 0010): compare their order, not their values."
        )
    found.append(f"Snapshots: {'; '.join(map(_snapshot, runs))}.")
    found += verdict(rows, columns_of(rows)[3].metric).sentences
    found += [f"Warning: {run.label} {run.outdated}; evaluate it again." for run in runs if run.outdated]
    said = [run.other_data for run in runs if run.other_data]
    warnings = dict.fromkeys([*said, *(warning for run in runs for warning in run.assessment.warnings)])
    return found + [f"Warning: {warning}." for warning in warnings]


def why_separate(tables: Sequence[Sequence[Row]]) -> list[str]:
    """The reasons for several tables, one sentence each."""
    return [
        f"Table {number} is separate from table 1, because its rows are not comparable: "
        f"{difference(tables[0], each)}."
        for number, each in enumerate(tables[1:], start=2)
    ]


def markdown(tables: Sequence[Sequence[Row]], wanted: Sequence[PaperRow] = ()) -> str:
    """The tables and their notes as Markdown; arguments as for `table`."""
    return "\n".join([*(_markdown(rows, wanted) for rows in tables), *why_separate(tables)])


def _markdown(rows: Sequence[Row], wanted: Sequence[PaperRow]) -> str:
    headings, lines = table(rows, wanted, "**")
    text = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    text += [f"| {' | '.join(cell.replace(chr(10), ' ') for cell in line)} |" for line in lines]
    return "\n".join([*text, "", *(f"{note}\n" for note in notes(rows, wanted))])


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
    return _with_interval(Metric(metric.real, metric.real_low, metric.real_high), digits)


def _millions(run: EvaluatedRun) -> str:
    return DASH if run.parameters is None else f"{run.parameters / 1e6:.3f}M"


def _time(row: Row) -> str:
    """Seconds of training, the mean over the seeds."""
    known = [seconds for run in row.runs if (seconds := run.facts.get("training_seconds")) is not None]
    return duration(sum(known) / len(known)) if known else DASH


def _snapshot(run: EvaluatedRun) -> str:
    """The measured generator, in words."""
    facts = run.facts
    if run.is_foreign:
        return f"{run.label} has none: it is a folder of {facts['n-generated']} volumes"
    weights = f", weights {facts['generator_sha256'][:12]}" if "generator_sha256" in facts else ""
    chosen = f" ({run.snapshot})" if run.snapshot else ""
    return f"{run.label} after {facts['n_images'] / 1000:g} kimg{chosen}{weights}"


def duration(seconds: float) -> str:
    """Seconds up to ten minutes, then hours.

    >>> duration(75), duration(5400)
    ('75 s', '1.50 h')
    """
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"
