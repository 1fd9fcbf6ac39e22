"""`voxflate audit`: which generated volumes may be copies of training volumes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate.cli.foreign import audit_folder, is_volume_folder, refuse_options_of_runs, refuse_other_training
from voxflate.cli.options.evaluate import FolderOptions, Prepare, ValueRange
from voxflate.cli.options.shared import (
    Assignments,
    Batch,
    Device,
    DryRun,
    EvaluationOut,
    MovedData,
    OtherData,
    Seed,
    Snapshot,
    Truncation,
)
from voxflate.cli.printing import (
    number_table,
    options_given,
    print_generator,
    print_report,
    print_warning,
    print_wide,
)
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from voxflate.evaluation import Audit
    from voxflate.reports.evaluations import Place
    from voxflate.reports.measure import Sampling
    from voxflate.runs.load import Source

ALLOW = 0.05
"""Default of --allow, where false alarms are fewer."""
COPIES = 3
"""Exit status of an audit that flags more volumes than the user allows."""


def audit(
    ctx: typer.Context,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Run folder of voxflate train; with --data, an export, the name of a generator included in "
            "voxflate, such as brains-16, or a folder of volumes.",
        ),
    ],
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
    value_range: ValueRange = None,
    prepare: Prepare = False,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Look for copies of training volumes among generated ones, after small shifts and flips.

    The thresholds come from real volumes that cannot be copies: held-out ones, and training volumes compared
    with other people's. A few percent of real people whom the thresholds do not know are flagged too; the
    audit measures how many. The number of generated volumes is evaluation.samples. An export or a folder of
    volumes needs --data and --out; a folder is audited completely.

    Example: voxflate audit runs/3d --snapshot best --allow 0.05 --set evaluation.samples=500

    Example: voxflate audit other-method/volumes --data data/brains --out other-method/audit
    """
    from voxflate.reports.evaluations import AUDIT
    from voxflate.reports.measure import Sampling
    from voxflate.reports.places import place_for, reserved
    from voxflate.runs.load import open_source

    values, reading = parse_assignments(assignments or []), FolderOptions(value_range, prepare)
    if is_volume_folder(run):
        refuse_options_of_runs(snapshot, truncation, other_data, device)
        audited = audit_folder(run, data, out, values, reading, seed, batch, dry_run)
        if audited is None:
            return
        found, place, names = audited
        _print_audit(found, names)
    else:
        reading.refuse()
        source = open_source(run, data, device, values, scans=True, other_data=other_data)
        refuse_other_training(values)
        source.check(snapshot)
        place = place_for(source, out, snapshot, AUDIT)
        if dry_run:
            print_settings(source.settings)
            return
        with reserved(place, AUDIT) as place:
            found = _audit_run(source, place, Sampling(snapshot, seed, truncation, batch))
    again = ["evaluate", str(run), *options_given(ctx, but=("allow",))]
    _print_files(place, found, data, other_data, again)
    limit = max(ALLOW, found.false_alarms or 0.0) if allow is None else allow
    if found.share > limit:
        typer.echo(
            f"voxflate: {found.share:.1%} of the volumes are flagged, {limit:.1%} are allowed (--allow); "
            "look at the pairs before you share volumes or weights",
            err=True,
        )
        raise typer.Exit(COPIES)


def _audit_run(source: Source, place: Place, sampling: Sampling) -> Audit:
    """Audit the samples of a run or an export, and print what was found."""
    from voxflate.reports.audited import audit_source
    from voxflate.reports.measure import stages_remark

    with progress_bar("measuring real volumes") as null, progress_bar("auditing") as progress:
        found = audit_source(source, place, sampling, progress, null, print_generator)
    _print_audit(found, [str(number) for number in range(len(found.samples))])
    snapshot = f" --snapshot {sampling.snapshot}" * (sampling.snapshot != "newest")
    typer.echo(
        f"sample k is volume k of voxflate generate --seed {sampling.seed} --truncation "
        f"{sampling.truncation:g}{snapshot}; volumes of another truncation need an audit of their own"
    )
    if remark := stages_remark(source):
        print_warning(remark)
    return found


def _print_audit(found: Audit, names: Sequence[str]) -> None:
    """Every flagged volume, the share of all and that of chance, and what follows; `names` of the samples."""
    from voxflate.evaluation.chance import VERDICTS

    words = ["sample", "nearest training volume", "flip", "flagged by"]
    table = number_table(words, ["correlation", "lead", "features"])
    for number, measures in found.flagged.items():
        near = found.samples[number]
        values = (f"{value:.3g}" for value in (near.correlation, near.lead, near.features))
        table.add_row(names[number], near.subject, near.flip or "-", ", ".join(measures), *values)
    if found.flagged:
        print_wide(table)
    limits = ", ".join(f"{side} {value:.3g}" for side, value in found.limits.items())
    typer.echo(f"flagged if one of these holds: {limits}")
    typer.echo(
        f"{len(found.flagged)} of {len(found.samples)} generated volumes flagged ({found.share:.1%}, "
        f"{_interval(found.interval)}), against {found.n_train} training volumes; thresholds from "
        f"{len(found.null)} real volumes, {found.n_heldout} of them held out"
    )
    alarms = "unknown, too few people"
    if found.false_alarms is not None and found.alarms_interval is not None:
        alarms = f"{found.false_alarms:.1%}, {_interval(found.alarms_interval)}"
    typer.echo(f"false alarms (flagged real volumes of people withheld from the thresholds): {alarms}")
    typer.echo(f"verdict: {VERDICTS[found.verdict] if found.verdict else 'none, too few people'}")
    if found.remark:
        print_warning(found.remark)


def _print_files(
    place: Place, found: Audit, data: Path | None, other_data: bool, again: Sequence[str]
) -> None:
    """What was written, and the report; or `again`, the words of the command that makes it."""
    from voxflate.reports.evaluated import report_evaluations
    from voxflate.reports.evaluations import AUDIT_PAIRS, METRICS

    typer.echo(f"written to {place.folder}")
    if found.pairs:
        typer.echo(f"contains real scans, do not share it: {place.folder / AUDIT_PAIRS}")
    if (place.folder / METRICS).is_file():
        report = report_evaluations([place], place.folder, data, other_data=other_data)
        print_report(report)
        return
    command = shlex.join(["voxflate", *again])
    typer.echo(f"to see the pairs side by side, make the report: {command}")


def _interval(ends: tuple[float, float]) -> str:
    return f"95% interval {ends[0]:.1%} to {ends[1]:.1%}"
