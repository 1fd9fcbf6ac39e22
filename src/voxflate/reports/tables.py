"""Tables of evaluated runs in the layout of the paper's Tables 6, 7 and 8, as text, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voxflate.config.paper_rows import KIMG_3D, PaperRow
from voxflate.evaluation.assessment import Assessment, Metric
from voxflate.metrics.extractors.inception import frechet_name

DASH = "\N{EN DASH}"
FLOOR_ROW = "real vs real"
_PLANES = ("ax", "sag", "cor", "avg")


@dataclass(frozen=True)
class EvaluatedRun:
    """A run and its metrics.

    Attributes:
        label: Short name.
        parameters: Trainable parameters of all its networks.
        assessment: What `voxflate evaluate` measured.
        paper: The paper's row that its preset stands for, or None.
        outdated: What the run has done since, if it went on; "" if it has not.
        other_data: Says that it was measured, or is shown, with other data than it should; "" if it was not.
    """

    label: str
    parameters: int
    assessment: Assessment
    paper: PaperRow | None = None
    outdated: str = ""
    other_data: str = ""

    @property
    def snapshot(self) -> str:
        """How the evaluated snapshot was chosen; older evaluations are of the newest."""
        return str(self.assessment.facts.get("snapshot", "newest"))


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: With its unit and an arrow to the better side.
        ours: The metric of a run.
        paper: The paper's metric.
        digits: Significant digits.
    """

    heading: str
    ours: Callable[[Assessment], Metric | None]
    paper: Callable[[PaperRow], float | None] = lambda row: None
    digits: int = 3


def columns(extractor: str) -> list[Column]:
    """The paper's columns and what a reader needs beside them.

    Args:
        extractor: Name of the leading feature network.
    """
    stem = frechet_name(extractor)
    title = "FID" if stem == "fid" else "Frechet"

    def of(name: str) -> Callable[[Assessment], Metric | None]:
        return lambda assessment: assessment.metrics.get(name)

    def fid(place: int) -> Callable[[PaperRow], float]:
        return lambda row: row.fid[place]

    found = [Column(f"{title}-{plane}", of(f"{stem}-{plane}"), fid(i)) for i, plane in enumerate(_PLANES)]
    found.append(Column("KID-avg", of(f"kid-{extractor}-avg")))
    found.append(Column("PSNR", of("psnr"), lambda row: row.psnr, 4))
    found.append(Column("MS-SSIM", of("ms-ssim")))
    found.append(Column("MS-SSIM (Kwon)", of("ms-ssim-kwon"), lambda row: row.ms_ssim))
    return found


def table(runs: Sequence[EvaluatedRun], wanted: Sequence[PaperRow] = ()) -> tuple[list[str], list[list[str]]]:
    """Headings and rows: the floor, the runs with their intervals, then rows of the paper, each once.

    Args:
        runs: At least one; all led by the same feature network.
        wanted: Rows of the paper to print although no run stands for them.
    """
    first = runs[0].assessment
    chosen = columns(first.facts["extractors"][0]["name"])
    headings = ["Model", "#param", *(column.heading for column in chosen), "kimg", "time"]
    rows = [[FLOOR_ROW, DASH, *(_floor(column.ours(first), column.digits) for column in chosen), DASH, DASH]]
    for run in runs:
        facts = run.assessment.facts
        cells = [_with_interval(column.ours(run.assessment), column.digits) for column in chosen]
        budget = [f"{facts['n_images'] / 1000:g}", _duration(facts["training_seconds"])]
        rows.append([run.label, f"{run.parameters / 1e6:.3f}M", *cells, *budget])
    for row in _paper_rows(runs, wanted):
        count = DASH if row.millions is None else f"{row.millions:.3f}M"
        printed = [_number(column.paper(row), column.digits) for column in chosen]
        rows.append([_paper_label(row), count, *printed, f"{KIMG_3D}", DASH])
    return headings, rows


def _paper_rows(runs: Sequence[EvaluatedRun], wanted: Sequence[PaperRow]) -> list[PaperRow]:
    """Rows that the runs stand for and those that are wanted, each once."""
    found: list[PaperRow] = []
    for row in (*(run.paper for run in runs), *wanted):
        if row is not None and row not in found:
            found.append(row)
    return found


def _paper_label(row: PaperRow) -> str:
    """The last table that prints the row and its name there, such as "Table 7: 3D-StyleGAN2"."""
    number = max(row.labels)
    return f"Table {number}: {row.labels[number]}"


def notes(runs: Sequence[EvaluatedRun], wanted: Sequence[PaperRow] = ()) -> list[str]:
    """What a reader must know below the table."""
    facts = runs[0].assessment.facts
    found = [
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{'x'.join(map(str, facts['shape']))}, seed {facts['seed']}, {facts['slices']} slice(s) per plane; "
        f"in brackets the 95% bootstrap interval over subjects ({facts['replicates']} replicates); the first "
        "row is half of the real volumes against the other half, or pairs of real subjects."
    ]
    found += [
        f"Features: {network['name']}, {network['features']} numbers, weights (SHA-256) "
        f"{network['weights-sha256'][:12]}."
        for network in facts["extractors"]
    ]
    if _paper_rows(runs, wanted):
        found.append(
            "The rows of the paper (Table ...) are FIDs (Inception) on other data: compare their order, "
            "not their values."
        )
    found.append(f"Snapshots: {'; '.join(map(_snapshot, runs))}.")
    if len({run.snapshot for run in runs} - {""}) > 1:
        found.append("Warning: the snapshots were chosen in different ways: the rows do not compare.")
    found += [f"Warning: {run.label} {run.outdated}; evaluate it again." for run in runs if run.outdated]
    for key, what in (("n-generated", "numbers of volumes"), ("data", "data sets"), ("slices", "slices")):
        if len({str(run.assessment.facts[key]) for run in runs}) > 1:
            found.append(f"The runs were measured with different {what}: their rows do not compare.")
    said = [run.other_data for run in runs if run.other_data]
    warnings = dict.fromkeys([*said, *(warning for run in runs for warning in run.assessment.warnings)])
    return found + [f"Warning: {warning}." for warning in warnings]


def markdown(runs: Sequence[EvaluatedRun], wanted: Sequence[PaperRow] = ()) -> str:
    """The table and its notes as Markdown; arguments as for `table`."""
    headings, rows = table(runs, wanted)
    lines = [f"| {' | '.join(headings)} |", f"|---|{'---:|' * (len(headings) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *notes(runs, wanted), ""])


def latex(runs: Sequence[EvaluatedRun], wanted: Sequence[PaperRow] = ()) -> str:
    """The table as a LaTeX tabular (packages: booktabs), its notes as comments; arguments as for `table`."""
    headings, rows = table(runs, wanted)
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}", "\\toprule"]
    lines += [f"{' & '.join(map(_escaped, headings))} \\\\", "\\midrule"]
    lines += [f"{' & '.join(map(_escaped, row))} \\\\" for row in rows]
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*(f"% {note}" for note in notes(runs, wanted)), *lines, ""])


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return DASH
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:.1f}"
    return f"{value:#.{digits}g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def _with_interval(metric: Metric | None, digits: int) -> str:
    if metric is None:
        return DASH
    text = _number(metric.value, digits)
    if metric.low is None or metric.high is None:
        return text
    return f"{text} [{_number(metric.low, digits)}, {_number(metric.high, digits)}]"


def _floor(metric: Metric | None, digits: int) -> str:
    if metric is None or metric.real is None:
        return DASH
    return _with_interval(Metric(metric.real, metric.real_low, metric.real_high), digits)


def _snapshot(run: EvaluatedRun) -> str:
    """Which generator was measured, in words."""
    facts = run.assessment.facts
    weights = f", weights {facts['generator_sha256'][:12]}" if "generator_sha256" in facts else ""
    chosen = f" ({run.snapshot})" if run.snapshot else ""
    return f"{run.label} after {facts['n_images'] / 1000:g} kimg{chosen}{weights}"


def _duration(seconds: float | None) -> str:
    if seconds is None:  # of an old export
        return DASH
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


def _escaped(text: str) -> str:
    for character in "&%_#":
        text = text.replace(character, f"\\{character}")
    return text.replace(DASH, "--")
