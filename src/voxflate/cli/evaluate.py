"""`voxflate evaluate`, `compare` and `audit`: how good, how diverse, copied or not, and how sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from voxflate.cli.options import Assignments, Batch, Device, DryRun, MovedData, PaperRows, Seed, Truncation
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.presets import rows_of
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from voxflate.config.schema import RunConfig
    from voxflate.evaluation import Assessment, Audit

COPIES = 3
"""Exit status of an audit that flags more volumes than the user allows."""

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")]
Embed = Annotated[bool, typer.Option("--tsne/--no-tsne", help="Draw the t-SNE of features in the report.")]


def evaluate(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders of voxflate train or pretrain.")
    ],
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    device: Device = None,
    extractors: Annotated[
        list[str] | None,
        typer.Option(
            "--extractor",
            metavar="NAME",
            help="Feature network, or a .pt or .onnx file; repeatable, the first one leads. "
            "(default: the run's evaluation.extractor)",
            show_default=False,
        ),
    ] = None,
    volume_extractor: Annotated[
        str,
        typer.Option(metavar="NAME", help="3D feature network: auto (deepbet for brains), none, deepbet."),
    ] = "auto",
    slices: Annotated[
        int, typer.Option(min=1, help="Slices per plane; 1 is the centre, as in the paper.")
    ] = 1,
    replicates: Annotated[
        int, typer.Option(min=0, help="Bootstrap replicates of the intervals; 0 leaves them out.")
    ] = 200,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch Inception's weights if they are not there (91 MB).")
    ] = False,
    embed: Embed = True,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Measure how far generated volumes are from real ones, beside what real ones reach.

    Frechet and kernel distances, precision and recall, MS-SSIM and PSNR with 95% intervals. Written to
    RUN/evaluation: metrics.json, report.html, table.md, table.tex. The number of volumes is
    evaluation.samples.

    Example: voxflate evaluate runs/3d --set evaluation.samples=500
    """
    from voxflate.sampling.generate import sampling_settings

    values = parse_assignments(assignments or [])
    settings = [sampling_settings(run, data, device, values) for run in runs]
    if dry_run:
        for run, each in zip(runs, settings, strict=True):
            if len(runs) > 1:
                typer.echo(f"# {run}")
            print_settings(each)
        return
    from voxflate.evaluation import SuiteSettings
    from voxflate.metrics.extractors.inception import download_inception
    from voxflate.reports.evaluated import write_results
    from voxflate.reports.evaluations import FOLDER, evaluate_run

    if download:
        download_inception()
    for run, each in zip(runs, settings, strict=True):
        chosen = SuiteSettings(
            extractors=extractors or [each.evaluation.extractor],
            volume_extractor=volume_extractor,
            slices=slices,
            replicates=replicates,
            seed=seed,
            device=_device(each),
        )
        with progress_bar(f"measuring {run.name}") as progress:
            assessment = evaluate_run(run, each, chosen, truncation, batch, progress)
        _print_assessment(assessment)
        if each.training.phase == "3d":
            typer.echo(f"report: {write_results([run], run / FOLDER, data, embed)}")
        typer.echo(f"written to {run / FOLDER}")


def compare(
    runs: Runs,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write report.html, table.md and table.tex there."),
    ] = None,
    paper: PaperRows = None,
    data: MovedData = None,
    embed: Embed = True,
) -> None:
    """Print evaluated runs side by side in the layout of the paper's Tables 6, 7 and 8.

    Runs of a preset have their row of the paper below; it comes from other data and other features.

    Example: voxflate compare runs/baseline runs/split-shuffle --out comparison
    """
    from voxflate.reports.evaluated import labels_of, write_results
    from voxflate.reports.evaluations import load_evaluated
    from voxflate.reports.tables import notes, table

    wanted = rows_of(paper or [])
    labels = labels_of(runs)
    evaluated = [load_evaluated(run, label) for run, label in zip(runs, labels, strict=True)]
    headings, rows = table(evaluated, wanted)
    shown = Table(*headings[:1])
    for heading in headings[1:]:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(*row)
    _wide(shown)
    for note in notes(evaluated, wanted):
        typer.echo(note)
    if out is not None:
        typer.echo(f"written to {write_results(runs, out, data, embed, paper=wanted).parent}")


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train.")],
    allow: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Largest share of flagged volumes; more gives exit status 3."),
    ] = 0.05,
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    device: Device = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Look for copies of training volumes among generated ones, after small shifts and flips.

    How near is too near is measured on held-out volumes. About 1% of volumes that are no copies are flagged
    too. The number of volumes is evaluation.samples.

    Example: voxflate audit runs/3d --allow 0.05 --set evaluation.samples=500
    """
    from voxflate.sampling.generate import sampling_settings

    settings = sampling_settings(run, data, device, parse_assignments(assignments or []))
    if dry_run:
        print_settings(settings)
        return
    from voxflate.reports.evaluated import write_results
    from voxflate.reports.evaluations import FOLDER, METRICS, audit_run

    with progress_bar("how near is no copy") as null, progress_bar("auditing") as progress:
        found = audit_run(run, settings, seed, truncation, batch, progress, null)
    _print_audit(found)
    typer.echo(f"written to {run / FOLDER}")
    if (run / FOLDER / METRICS).is_file():
        typer.echo(f"report: {write_results([run], run / FOLDER, data)}")
    else:
        typer.echo(f"the pairs side by side come with the report: voxflate evaluate {run}")
    if found.share > allow:
        typer.echo(
            f"voxflate: {found.share:.1%} of the volumes are flagged, {allow:.1%} are allowed", err=True
        )
        raise typer.Exit(COPIES)


def _device(settings: RunConfig) -> str:
    from voxflate.config.build import choose_device

    return str(choose_device(settings.training.device))


def _print_assessment(assessment: Assessment) -> None:
    table = Table("figure")
    for heading in ("generated", "95% interval", "standard error", "real vs real"):
        table.add_column(heading, justify="right")
    for name, figure in assessment.figures.items():
        ends = "-" if figure.low is None or figure.high is None else f"{figure.low:.4g} to {figure.high:.4g}"
        rest = ("-" if value is None else f"{value:.4g}" for value in (figure.error, figure.real))
        table.add_row(name, f"{figure.value:.4g}", ends, *rest)
    _wide(table)
    facts = assessment.facts
    networks = ", ".join(f"{each['name']} ({each['weights-sha256'][:12]})" for each in facts["extractors"])
    typer.echo(
        f"{facts['n-generated']} generated against {facts['n-real']} real, seed {facts['seed']}; features: "
        f"{networks}"
    )
    for warning in assessment.warnings:
        typer.echo(f"warning: {warning}")
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in assessment.seconds.items())
    typer.echo(f"seconds: {stages}")


def _print_audit(found: Audit) -> None:
    table = Table("sample", "nearest training volume", "flip", "flagged by")
    for heading in ("correlation", "lead", "features"):
        table.add_column(heading, justify="right")
    for number, measures in found.flagged.items():
        near = found.samples[number]
        values = (f"{value:.3g}" for value in (near.correlation, near.lead, near.features))
        table.add_row(str(number), near.subject, near.flip or "-", ", ".join(measures), *values)
    if found.flagged:
        _wide(table)
    typer.echo(
        f"{len(found.flagged)} of {len(found.samples)} generated volumes flagged ({found.share:.1%}), "
        f"against {found.n_train} training volumes; thresholds from {len(found.null)} volumes that are no "
        f"copies, {found.n_heldout} of them held out, of which they flag {found.false_alarms:.1%}"
    )


def _wide(table: Table) -> None:
    """Print at full width: a table that is cut to 80 columns in a file or a pipe is of no use."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    console.print(table)
