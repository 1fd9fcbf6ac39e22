"""Reports on a finished run: its last metrics in a few lines, and RUN/report.html."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.config.toml import load_config
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.evaluation.distances import half_sizes
from voxflate.evaluation.evaluator import FLOOR_SPLITS
from voxflate.evaluation.real import RealSet
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.evaluations import sheets_of
from voxflate.reports.known import counts_of
from voxflate.reports.page import RunSummary, write_report
from voxflate.reports.shown import real_sheet
from voxflate.runs.facts import read_facts
from voxflate.runs.log import LOG_NAME, METRICS_NAME, read_rows
from voxflate.runs.snapshots import best_of

REPORT = "report.html"


def last_metrics(run: Path) -> list[str]:
    """The metrics of the last measured snapshot, and the best snapshot, in words; empty if none."""
    rows = read_rows(run / METRICS_NAME)
    if not rows:
        return []
    last, stem = rows[-1], frechet_name(str(rows[-1]["extractor"]))
    named = [f"{stem}-avg", f"{stem}-2d", f"kid-{last['extractor']}-heldout-avg", "pairwise-l2"]
    parts = [f"{name} {last[name]:.4g}{_real(last, name)}" for name in named if name in last]
    lines = [
        f"after {last['n_images'] / 1000:g} kimg, {last['n-generated']} generated against {last['n-real']} "
        f"real: {', '.join(parts)}"
    ]
    best = best_of(rows)
    if best is not None:
        lines.append(f"best snapshot by the distance (KID) to held-out volumes: after {best / 1000:g} kimg")
    return lines


def write_training_report(run: Path) -> Path:
    """Write RUN/report.html of a 3D run: last metrics, curves, sheets at the start and the end.

    Raises:
        VoxflateError: If it is a 2D run or nothing was measured, or its data cannot be opened.
    """
    config, rows = load_config(run), read_rows(run / METRICS_NAME)
    if config.training.phase != "3d" or not rows:
        raise VoxflateError(f"{run}: has no metrics of volumes to report; run voxflate evaluate")
    prepared, last = open_prepared(config.data), rows[-1]
    with tempfile.TemporaryDirectory() as scratch:
        real = Path(scratch) / "real.png"
        real_sheet(prepared, real)
        write_report(
            run / REPORT,
            f"Training of {run.resolve().name}",
            [_summary(run, rows)],
            real,
            _floor(last, prepared),
            settings={"data": f"SHA-256 {prepared.content_hash[:12]}, recipe {prepared.manifest.recipe}"},
        )
    return run / REPORT


def _summary(run: Path, rows: list[dict[str, Any]]) -> RunSummary:
    counts = counts_of(read_facts(run)["parameters"])
    log, sheets = read_rows(run / LOG_NAME), sheets_of(run)
    stem = frechet_name(str(rows[-1]["extractor"]))
    keys = [key for key in rows[-1] if key.startswith((stem, "pairwise"))]
    return RunSummary(
        label=run.resolve().name,
        generator_parameters=counts["generator_parameters"],
        discriminator_parameters=counts["parameters"] - counts["generator_parameters"],
        kimg=rows[-1]["n_images"] / 1000,
        seconds=log[-1]["seconds"] if log else None,
        curves={key: [(row["n_images"] / 1000, row[key]) for row in rows if key in row] for key in keys},
        metrics=rows[-1],
        sheet_start=sheets[min(sheets)],
        sheet_end=sheets[max(sheets)],
    )


def _floor(row: Mapping[str, Any], prepared: PreparedSet) -> dict[str, Any]:
    """The floor in a row of metrics, as in `Evaluator.real_floor`."""
    found = {key.removeprefix("real-"): value for key, value in row.items() if key.startswith("real-")}
    return found | {
        "extractor": row["extractor"],
        "weights-sha256": row["weights-sha256"],
        **half_sizes(RealSet(prepared).subjects, FLOOR_SPLITS, row["seed"]),
        "seed": row["seed"],
    }


def _real(row: Mapping[str, Any], name: str) -> str:
    return f" (real vs real {row[f'real-{name}']:.4g})" if f"real-{name}" in row else ""
