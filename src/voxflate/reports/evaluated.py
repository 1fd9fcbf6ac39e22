"""The report of evaluated runs: tables, curves, sheets, t-SNE, scatter, viewer, audit, utility."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.config.paper_rows import PaperRow
from voxflate.data.prepared import PreparedSet
from voxflate.evaluation import Metric
from voxflate.evaluation.evaluator import DIVERSITY
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.table import better
from voxflate.reports.evaluations import (
    SAMPLES,
    Place,
    load_arrays,
    load_evaluated,
    prepared_of,
    sheets_of,
)
from voxflate.reports.latex import latex
from voxflate.reports.markdown import markdown
from voxflate.reports.notes import notes, why_separate
from voxflate.reports.page import RunSummary, write_report
from voxflate.reports.parts import Extras, Table
from voxflate.reports.rows import EvaluatedRun, Row, grouped, separated
from voxflate.reports.shown import (
    audit_section,
    pictures_of,
    real_sheet,
    utility_sections,
    volume_sets,
    volume_sheet,
)
from voxflate.reports.tables import DASH, beside, columns_of, table
from voxflate.reports.verdict import verdict
from voxflate.runs.log import METRICS_NAME, read_rows


def report_evaluations(
    places: Sequence[Place],
    out: Path,
    data: Path | None = None,
    embed: bool = True,
    title: str = "",
    paper: Sequence[PaperRow] = (),
    rows: Sequence[Row] | None = None,
    *,
    other_data: bool = False,
) -> Path:
    """Write report.html, table.md and table.tex of evaluated 3D runs and exports.

    Args:
        places: Their evaluations; all of one data set.
        out: Folder for the files.
        data: Folder of the first one's data; None to use the one named in its run.
        embed: Whether to compute the t-SNE.
        title: Heading; by default made from the names.
        paper: Rows of the paper to print even if no run reproduces them.
        rows: The same evaluations as rows of the tables; None to group seeds of equal settings.
        other_data: Continue even if the data differs from the training or evaluation data; all files then
            say so.

    Returns:
        The report.

    Raises:
        VoxflateError: If one was not evaluated or is a 2D run, or the data differs from the training
            and the evaluation data.
    """
    evaluated = load_all(places, other_data=other_data)
    for path in (place.folder / SAMPLES for place in places):
        if not path.is_file():
            raise VoxflateError(f"{path}: no such file, and the report shows its volumes; evaluate again")
    labels = [each.label for each in evaluated]
    prepared, remark = prepared_of(places[0], data, go_on=other_data)
    tables = separated(_with_remark(rows or grouped(evaluated), labels[0], remark))
    with whole_file(out / "table.md") as temporary:
        temporary.write_text(markdown(tables, paper), encoding="utf-8")
    with whole_file(out / "table.tex") as temporary:
        temporary.write_text(latex(tables, paper), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = real_sheet(prepared, folder / "real.png")
        summaries = [
            _summary(place, each, prepared, folder) for place, each in zip(places, evaluated, strict=True)
        ]
        floor = floor_of(evaluated[0])
        write_report(
            out / "report.html",
            title or f"Evaluation of {', '.join(labels)}",
            summaries,
            folder / "real.png",
            floor,
            settings={"data": f"SHA-256 {prepared.content_hash[:12]}, recipe {prepared.manifest.recipe}"},
            extras=Extras(
                tables=_tables(tables, paper),
                details=_every_metric(evaluated),
                pictures=pictures_of(places, evaluated, prepared, folder, embed),
                volumes=volume_sets(places, labels, prepared, real),
                audit=audit_section(places, evaluated, prepared),
                utility=utility_sections(places, evaluated, folder),
            ),
            verdict=_verdicts(tables),
            curve_floor=_curve_floor(floor, places, prepared),
        )
    return out / "report.html"


def load_all(places: Sequence[Place], *, other_data: bool = False) -> list[EvaluatedRun]:
    """Read evaluations, each with a unique label.

    Args:
        places: The evaluations.
        other_data: As for `load_evaluated`.

    Raises:
        VoxflateError: If one was not evaluated, is a 2D run, or was measured with other data than it was
            trained on.
    """
    evaluated = [load_evaluated(place, other_data=other_data) for place in places]
    labels = [each.label for each in evaluated]
    if len(set(labels)) < len(labels):
        folders = [(place.run or place.folder).resolve() for place in places]
        labels = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if len(set(labels)) < len(labels):  # several evaluations of one run
        labels = [f"{label} ({place.folder.name})" for label, place in zip(labels, places, strict=True)]
    evaluated = [replace(each, label=label) for each, label in zip(evaluated, labels, strict=True)]
    for place, each in zip(places, evaluated, strict=True):
        if each.facts["phase"] != "3d":
            raise VoxflateError(f"{place.run or place.folder}: is a 2D run; the report is for 3D runs")
    return evaluated


def _with_remark(rows: Sequence[Row], label: str, remark: str) -> Sequence[Row]:
    """The same rows, with a note for the run with this label that it is shown with other data."""
    if not remark:
        return rows

    def remarked(run: EvaluatedRun) -> EvaluatedRun:
        if run.label != label:
            return run
        return replace(run, other_data="; ".join(filter(None, (run.other_data, remark))))

    return [replace(row, runs=tuple(map(remarked, row.runs))) for row in rows]


def _tables(tables: Sequence[Sequence[Row]], paper: Sequence[PaperRow]) -> list[Table]:
    """Both parts of each table, its notes below; those of the last one explain why there are several."""
    found = []
    for number, rows in enumerate(tables, start=1):
        which = f", table {number}" if len(tables) > 1 else ""
        last = number == len(tables)
        below = [*notes(rows, paper, explained=last), *(why_separate(tables) if last else ())]
        found.append(Table(f"In the paper's layout{which}", *table(rows, paper)))
        found.append(Table(f"Variety, copies and budgets{which}", *beside(rows), below))
    return found


def _verdicts(tables: Sequence[Sequence[Row]]) -> list[str]:
    """The verdict on the order of the rows, table by table."""
    found = [sentence for rows in tables for sentence in verdict(rows, columns_of(rows)[3].metric).sentences]
    return found + why_separate(tables)


def floor_of(run: EvaluatedRun) -> dict[str, Any]:
    """The floor of a run's metrics as a flat dictionary, as in `Evaluator.real_floor`.

    Evaluations of older versions do not say how large its halves were.
    """
    facts = run.assessment.facts
    leading = facts["extractors"][0]
    return {
        name: metric.real for name, metric in run.assessment.metrics.items() if metric.real is not None
    } | {
        "extractor": leading["name"],
        "weights-sha256": leading["weights-sha256"],
        **facts.get("floor", {}),
        "seed": facts["seed"],
        "splits": facts["halvings"],
    }


def _curve_floor(floor: Mapping[str, Any], places: Sequence[Place], prepared: PreparedSet) -> dict[str, Any]:
    """The floor of the curves: at snapshots, diversity is that of all channels, here of the first image."""
    others = {name: value for name, value in floor.items() if name != DIVERSITY}
    for place in places:
        for row in reversed(_rows_of(place)):
            if f"real-{DIVERSITY}" in row:
                return others | {DIVERSITY: row[f"real-{DIVERSITY}"]}
    return others if len(prepared.layout.channels) > 1 else dict(floor)


def _rows_of(place: Place) -> list[dict[str, Any]]:
    """Metrics at the snapshots; none for an export or a folder of volumes."""
    return read_rows(place.run / METRICS_NAME) if place.run is not None else []


def _summary(place: Place, evaluated: EvaluatedRun, prepared: PreparedSet, folder: Path) -> RunSummary:
    facts = evaluated.assessment.facts
    rows = _rows_of(place)
    prefix = frechet_name(facts["extractors"][0]["name"])
    curves = {
        key: [(row["n_images"] / 1000, row[key]) for row in rows if key in row]
        for key in (rows[-1] if rows else ())
        if key.startswith((prefix, DIVERSITY))
    }
    generator = facts.get("generator_parameters")  # a folder of volumes has none
    sheet_start, sheet_end = _sheets(place, evaluated, prepared, folder)
    return RunSummary(
        label=evaluated.label,
        generator_parameters=generator,
        discriminator_parameters=None if generator is None else (evaluated.parameters or 0) - generator,
        kimg=None if evaluated.is_foreign else facts["n_images"] / 1000,
        seconds=facts["training_seconds"],
        curves=curves,
        metrics={name: metric.value for name, metric in evaluated.assessment.metrics.items()}
        | {"n-generated": facts["n-generated"], "n-real": facts["n-real"]},
        sheet_start=sheet_start,
        sheet_end=sheet_end,
        end_caption="the first of its volumes"
        if evaluated.is_foreign
        else f"the evaluated snapshot, {facts['n_images'] / 1000:g} kimg",
    )


def _sheets(
    place: Place, evaluated: EvaluatedRun, prepared: PreparedSet, folder: Path
) -> tuple[Path | None, Path]:
    """The sample sheets before training (if there is one) and of the evaluated snapshot."""
    sheets = sheets_of(place.run) if place.run is not None else {}
    kimg = None if evaluated.is_foreign else evaluated.facts["n_images"] / 1000
    start = sheets[min(sheets)] if sheets else None
    if kimg in sheets:
        return start, sheets[kimg]
    # An export has no sheets, nor has every snapshot; the samples are always there.
    path = folder / f"{evaluated.label.replace('/', '-')}.png"
    title = evaluated.label if kimg is None else f"{evaluated.label}, {kimg:g} kimg"
    volume_sheet(load_arrays(place.folder / SAMPLES)["volumes"], path, title, prepared)
    return start, path


def _every_metric(evaluated: Sequence[EvaluatedRun]) -> Table:
    """All metrics of all runs, next to the floor of the first run."""
    names = list(dict.fromkeys(name for run in evaluated for name in run.assessment.metrics))
    first = evaluated[0].assessment.metrics
    rows = []
    for name in names:
        floor = first[name].real if name in first else None
        cells = [_cell(run.assessment.metrics.get(name)) for run in evaluated]
        best = {"real": "as real", "none": DASH}.get(better(name), better(name))
        rows.append([name, best, DASH if floor is None else f"{floor:.4g}", *cells])
    headings = ["metric", "best", "real vs real", *(run.label for run in evaluated)]
    draws = any(run.facts["replicates"] for run in evaluated)
    below = ["In brackets the 95% interval; SE is the standard error."] if draws else []
    return Table("Every metric", headings, rows, below)


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return DASH
    if metric.low is None or metric.high is None or metric.error is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g}\n[{metric.low:.4g}, {metric.high:.4g}]\nSE {metric.error:.2g}"
