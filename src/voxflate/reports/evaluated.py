"""The report of evaluated runs: tables, curves, sheets, t-SNE, scatter, viewer, audit."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, whole_file
from voxflate.config.paper_rows import PaperRow
from voxflate.data.prepared import PreparedSet
from voxflate.drawing import charts
from voxflate.drawing.sheets import resolution_sheet, sample_sheet
from voxflate.evaluation import Metric
from voxflate.metrics.embedding import tsne
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.table import better
from voxflate.reports.evaluations import (
    AUDIT,
    AUDIT_PAIRS,
    SAMPLES,
    Place,
    load_arrays,
    load_evaluated,
    prepared_of,
    sheets_of,
)
from voxflate.reports.page import RunSummary, write_report
from voxflate.reports.parts import AuditSection, Extras, Table, VolumeSet
from voxflate.reports.tables import DASH, EvaluatedRun, latex, markdown, notes, table
from voxflate.runs.log import METRICS_NAME, read_rows

REAL_SHOWN = 8


def write_results(
    places: Sequence[Place],
    out: Path,
    data: Path | None = None,
    embed: bool = True,
    title: str = "",
    paper: Sequence[PaperRow] = (),
) -> Path:
    """Write report.html, table.md and table.tex of evaluated 3D runs and exports.

    Args:
        places: Where their evaluations lie; all of one data set.
        out: Folder for the files.
        data: Where the data of the first one lies now; None where its run says.
        embed: Whether to compute the t-SNE.
        title: Heading; made from the names by default.
        paper: Rows of the paper to print although no run stands for them.

    Returns:
        The report.

    Raises:
        VoxflateError: If one was not evaluated or is a 2D run, or the data is not what it was measured with.
    """
    labels = labels_of([place.run or place.folder for place in places])
    evaluated = [load_evaluated(place, label) for place, label in zip(places, labels, strict=True)]
    for place, each in zip(places, evaluated, strict=True):
        if each.assessment.facts["phase"] != "3d":
            raise VoxflateError(f"{place.run or place.folder}: is a 2D run; the report compares 3D runs")
    prepared = prepared_of(places[0], data)
    with whole_file(out / "table.md") as temporary:
        temporary.write_text(markdown(evaluated, paper), encoding="utf-8")
    with whole_file(out / "table.tex") as temporary:
        temporary.write_text(latex(evaluated, paper), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real = prepared.volumes("train", range(min(REAL_SHOWN, len(prepared.stored("train")))))
        sample_sheet(real, folder / "real.png", title="real volumes", spacing=prepared.spacing)
        summaries = [
            _summary(place, each, prepared, folder) for place, each in zip(places, evaluated, strict=True)
        ]
        write_report(
            out / "report.html",
            title or f"Evaluation of {', '.join(labels)}",
            summaries,
            folder / "real.png",
            floor_of(evaluated[0]),
            settings={"data": f"SHA-256 {prepared.content_hash[:12]}, recipe {prepared.manifest.recipe}"},
            extras=Extras(
                table=Table("In the paper's layout", *table(evaluated, paper), notes(evaluated, paper)),
                details=_every_metric(evaluated),
                pictures=_pictures(places, evaluated, prepared, folder, embed),
                volumes=_volumes(places, labels, prepared, real),
                audit=_audit(places, evaluated, prepared),
            ),
        )
    return out / "report.html"


def labels_of(runs: Sequence[Path]) -> list[str]:
    """Names of the folders; with their parents' names where two are called the same."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.resolve().parent.name}/{run.resolve().name}" for run in runs]


def floor_of(run: EvaluatedRun) -> dict[str, Any]:
    """The floor of a run's metrics in the flat form of `Evaluator.real_floor`."""
    facts = run.assessment.facts
    leading = facts["extractors"][0]
    half = facts["n-real"] // 2
    return {
        name: metric.real for name, metric in run.assessment.metrics.items() if metric.real is not None
    } | {
        "extractor": leading["name"],
        "weights-sha256": leading["weights-sha256"],
        "n-real": facts["n-real"] - half,
        "n-generated": half,
        "seed": facts["seed"],
        "splits": facts["halvings"],
    }


def _summary(place: Place, evaluated: EvaluatedRun, prepared: PreparedSet, folder: Path) -> RunSummary:
    facts = evaluated.assessment.facts
    rows = read_rows(place.run / METRICS_NAME) if place.run is not None else []
    prefix = frechet_name(facts["extractors"][0]["name"])
    curves = {
        key: [(row["n_images"] / 1000, row[key]) for row in rows if key in row]
        for key in (rows[-1] if rows else ())
        if key.startswith((prefix, "pairwise"))
    }
    generator = _generator_parameters(place, evaluated)
    sheet_start, sheet_end = _sheets(place, evaluated, prepared, folder)
    return RunSummary(
        label=evaluated.label,
        generator_parameters=generator,
        discriminator_parameters=evaluated.parameters - generator,
        kimg=facts["n_images"] / 1000,
        seconds=facts["training_seconds"],
        curves=curves,
        metrics={name: metric.value for name, metric in evaluated.assessment.metrics.items()}
        | {"n-generated": facts["n-generated"], "n-real": facts["n-real"]},
        sheet_start=sheet_start,
        sheet_end=sheet_end,
        end_caption=f"the evaluated snapshot, {facts['n_images'] / 1000:g} kimg",
    )


def _generator_parameters(place: Place, evaluated: EvaluatedRun) -> int:
    facts = evaluated.assessment.facts
    if "generator_parameters" in facts or place.run is None:
        return int(facts["generator_parameters"])
    return int(read_json(place.run / "run.json")["parameters"]["generator"])  # an older version's evaluation


def _sheets(
    place: Place, evaluated: EvaluatedRun, prepared: PreparedSet, folder: Path
) -> tuple[Path | None, Path]:
    """The sample sheets before training, if there is one, and of the evaluated snapshot."""
    sheets = sheets_of(place.run) if place.run is not None else {}
    kimg = evaluated.assessment.facts["n_images"] / 1000
    start = sheets[min(sheets)] if sheets else None
    if kimg in sheets:
        return start, sheets[kimg]
    # An export has no sheets, and neither has a snapshot between two of them: the samples are at hand.
    path = folder / f"{evaluated.label.replace('/', '-')}.png"
    sample_sheet(
        load_arrays(place.folder / SAMPLES)["volumes"],
        path,
        title=f"{evaluated.label}, {kimg:g} kimg",
        spacing=prepared.spacing,
    )
    return start, path


def _every_metric(evaluated: Sequence[EvaluatedRun]) -> Table:
    """All metrics of all runs beside the floor of the first one."""
    names = list(dict.fromkeys(name for run in evaluated for name in run.assessment.metrics))
    first = evaluated[0].assessment.metrics
    rows = []
    for name in names:
        floor = first[name].real if name in first else None
        cells = [_cell(run.assessment.metrics.get(name)) for run in evaluated]
        best = {"real": "as real"}.get(better(name), better(name))
        rows.append([name, best, DASH if floor is None else f"{floor:.4g}", *cells])
    headings = ["metric", "best", "real vs real", *(run.label for run in evaluated)]
    return Table("Every metric", headings, rows, ["In brackets the 95% interval, then the standard error."])


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return DASH
    if metric.low is None or metric.high is None or metric.error is None:
        return f"{metric.value:.4g}"
    return f"{metric.value:.4g} [{metric.low:.4g}, {metric.high:.4g}] {metric.error:.2g}"


def _pictures(
    places: Sequence[Place],
    evaluated: Sequence[EvaluatedRun],
    prepared: PreparedSet,
    folder: Path,
    embed: bool,
) -> list[tuple[str, Path]]:
    """Draw what needs more than one run, or the features."""
    pictures = []
    arrays = {place: load_arrays(place.folder / SAMPLES) for place in places}
    sets = {
        each.label: arrays[place]["features"]
        for place, each in zip(places, evaluated, strict=True)
        if "features" in arrays[place]
    }
    same = {key.assessment.facts["extractors"][0]["weights-sha256"] for key in evaluated}
    if embed and sets and len(same) == 1:
        groups = {"real": arrays[places[0]]["real_features"], **sets}
        # Without scikit-learn the report has everything else.
        with contextlib.suppress(VoxflateError):
            spots = tsne(np.concatenate(list(groups.values())), seed=0)
            ends = np.cumsum([len(group) for group in groups.values()])[:-1]
            shown = dict(zip(groups, np.split(spots, ends), strict=True))
            charts.embedding(shown, folder / "tsne.png", "t-SNE of centre slices")
            pictures.append(("t-SNE of the features of centre slices (Fig. 7, 8)", folder / "tsne.png"))
    if len(places) > 1:
        pictures.append(("Quality over parameters", _scatter(evaluated, folder / "scatter.png")))
    shapes = {tuple(each.assessment.facts["shape"]) for each in evaluated}
    if len(shapes) > 1:
        rows = {}
        for place, each in zip(places, evaluated, strict=True):
            volumes = arrays[place]["volumes"]
            field = np.array(prepared.shape) * np.array(prepared.spacing)
            rows[each.label] = (volumes, tuple(field / volumes.shape[2:]))
        resolution_sheet(rows, folder / "resolution.png")
        pictures.append(("Resolutions (Fig. 6)", folder / "resolution.png"))
    return pictures


def _scatter(evaluated: Sequence[EvaluatedRun], path: Path) -> Path:
    stem = frechet_name(evaluated[0].assessment.facts["extractors"][0]["name"])
    marks = {}
    for run in evaluated:
        metric = run.assessment.metrics.get(f"{stem}-avg")
        if metric is not None:
            ends = None if metric.low is None or metric.high is None else (metric.low, metric.high)
            marks[run.label] = (run.parameters, metric.value, ends)
    floor = evaluated[0].assessment.metrics.get(f"{stem}-avg")
    charts.quality(marks, path, f"{stem}-avg", None if floor is None else floor.real)
    return path


def _volumes(
    places: Sequence[Place], labels: Sequence[str], prepared: PreparedSet, real: NDArray[np.floating]
) -> list[VolumeSet]:
    names = [f"training volume {number}" for number in range(len(real))]
    sets = []
    for index, (place, label) in enumerate(zip(places, labels, strict=True)):
        volumes = load_arrays(place.folder / SAMPLES).get("volumes", np.empty((0, 1, 1, 1, 1)))
        if len(volumes) and volumes.shape[2:] == prepared.shape:
            numbers = [f"sample {number}" for number in range(len(volumes))]
            sets.append(VolumeSet(label, volumes[:, 0], numbers, prepared.spacing, f"volumes-{index}"))
    return [*sets, VolumeSet("real", real[:, 0], names, prepared.spacing, "volumes-real")]


def _audit(
    places: Sequence[Place], evaluated: Sequence[EvaluatedRun], prepared: PreparedSet
) -> AuditSection | None:
    """What the audits of these snapshots found; the flagged volumes of the first one that has some."""
    lines: list[str] = []
    sets: list[VolumeSet] = []
    for place, each in zip(places, evaluated, strict=True):
        path, label = place.folder / AUDIT, each.label
        if not path.is_file():
            continue
        audit = read_json(path)
        if not _same_generator(audit, each.assessment.facts):
            lines.append(
                f"{label}: the audit in its folder is of another snapshot, after "
                f"{audit['n_images'] / 1000:g} kimg, and is left out; run voxflate audit again."
            )
            continue
        count = len(audit["flagged"])
        lines.append(
            f"{label}: {count} of {audit['n-generated']} generated volumes ({audit['flagged-share']:.1%}) "
            f"are nearer to a training volume than volumes that are not copies ({audit['n-null']}, of them "
            f"{audit['n-heldout']} held out)."
        )
        stored = load_arrays(place.folder / AUDIT_PAIRS)
        if count and not sets and stored["pairs"].shape[2:] == prepared.shape:
            numbers = stored["numbers"].tolist()
            near = [audit["samples"][number] for number in numbers]
            left = [f"sample {number}" for number in numbers]
            right = [f"{each['subject']}, correlation {each['correlation']:.2f}" for each in near]
            sets = [
                VolumeSet(
                    f"{label}: flagged", stored["pairs"][:, 0], left, prepared.spacing, "audit-generated"
                ),
                VolumeSet(
                    "nearest training volume", stored["pairs"][:, 1], right, prepared.spacing, "audit-real"
                ),
            ]
    return AuditSection(" ".join(lines), sets) if lines else None


def _same_generator(audit: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Say whether an audit and an evaluation are of one generator; older files name only its images."""
    keys = ("n_images", "generator_sha256")
    return all(audit[key] == facts[key] for key in keys if key in audit and key in facts)
