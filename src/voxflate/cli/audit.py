"""`voxflate audit`: which generated volumes may be copies of training volumes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate.cli.options.shared import (
    Assignments,
    Batch,
    Device,
    DryRun,
    EvaluationOut,
    MovedData,
    OtherData,
    RunWithScans,
    Seed,
    Snapshot,
    Truncation,
)
from voxflate.cli.printing import number_table, print_generator, print_wide
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from voxflate.evaluation import Audit

ALLOW = 0.05
"""Default of --allow, where false alarms are fewer."""
COPIES = 3
"""Exit status of an audit that flags more volumes than the user allows."""


def audit(
    run: RunWithScans,
    allow: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Largest accepted share of flagged volumes; above it, exit status 3. "
            f"(default: {ALLOW}, or the share of false alarms if that is larger)",
            show_default=False,
        ),
    ] = None,
    out: EvaluationOut = None,
    snapshot: Snapshot = "newest",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    other_data: OtherData = False,
    device: Device = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Look for copies of training volumes among generated ones, after small shifts and flips.

    The thresholds come from real volumes that cannot be copies: held-out ones, and training volumes compared
    with other people's. A few percent of real people whom the thresholds do not know are flagged too; the
    audit measures how many. The number of generated volumes is evaluation.samples. An export needs --data
    and --out.

    Example: voxflate audit runs/3d --snapshot best --allow 0.05 --set evaluation.samples=500
    """
    from voxflate.reports.evaluations import AUDIT, METRICS
    from voxflate.reports.measure import place_for
    from voxflate.runs.load import open_source

    values = parse_assignments(assignments or [])
    source = open_source(run, data, device, values, scans=True, other_data=other_data)
    source.check(snapshot)
    place = place_for(source, out, snapshot, AUDIT)
    if dry_run:
        print_settings(source.settings)
        return
    from voxflate.reports.evaluated import report_evaluations
    from voxflate.reports.measure import Sampling, audit_source, stages_remark

    sampling = Sampling(snapshot, seed, truncation, batch)
    with progress_bar("measuring real volumes") as null, progress_bar("auditing") as progress:
        found = audit_source(source, place, sampling, progress, null, print_generator)
    _print_audit(found)
    if remark := stages_remark(source):
        typer.echo(f"warning: {remark}", err=True)
    typer.echo(f"written to {place.folder}")
    if (place.folder / METRICS).is_file():
        typer.echo(f"report: {report_evaluations([place], place.folder, data, other_data=other_data)}")
    else:
        options = ["--data", str(data)] if data is not None else []
        options += ["--out", str(place.folder)] if source.exported is not None else []
        options += ["--other-data"] if other_data else []
        command = shlex.join(["voxflate", "evaluate", str(run), *options])
        typer.echo(f"to see the pairs side by side, make the report: {command}")
    limit = max(ALLOW, found.false_alarms or 0.0) if allow is None else allow
    if found.share > limit:
        typer.echo(
            f"voxflate: {found.share:.1%} of the volumes are flagged, {limit:.1%} are allowed (--allow); "
            "look at the pairs before you share volumes or weights",
            err=True,
        )
        raise typer.Exit(COPIES)


def _print_audit(found: Audit) -> None:
    words = ["sample", "nearest training volume", "flip", "flagged by"]
    table = number_table(words, ["correlation", "lead", "features"])
    for number, measures in found.flagged.items():
        near = found.samples[number]
        values = (f"{value:.3g}" for value in (near.correlation, near.lead, near.features))
        table.add_row(str(number), near.subject, near.flip or "-", ", ".join(measures), *values)
    if found.flagged:
        print_wide(table)
    alarms = "unknown, too few people" if found.false_alarms is None else f"{found.false_alarms:.1%}"
    typer.echo(
        f"{len(found.flagged)} of {len(found.samples)} generated volumes flagged ({found.share:.1%}), "
        f"against {found.n_train} training volumes; thresholds from {len(found.null)} real volumes, "
        f"{found.n_heldout} of them held out"
    )
    typer.echo(f"false alarms (flagged real volumes of people withheld from the thresholds): {alarms}")
