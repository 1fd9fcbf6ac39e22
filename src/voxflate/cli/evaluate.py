"""`voxflate evaluate`: how good, how diverse, and how sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from voxflate._system.errors import VoxflateError
from voxflate.cli.options import (
    Assignments,
    Batch,
    Device,
    DryRun,
    Embed,
    EvaluationOut,
    MovedData,
    OtherData,
    Seed,
    Snapshot,
    Truncation,
)
from voxflate.cli.printing import print_generator, print_wide
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from voxflate.evaluation import Assessment


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders of voxflate train or pretrain, or exports."),
    ],
    out: EvaluationOut = None,
    snapshot: Snapshot = "newest",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    other_data: OtherData = False,
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
        typer.Option(
            metavar="NAME", help="3D features: auto (deepbet for brains), none, deepbet, radiomics."
        ),
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
    evaluation.samples. An export needs --data and --out.

    Example: voxflate evaluate runs/3d --snapshot best --set evaluation.samples=500
    """
    from voxflate.reports.measure import place_for
    from voxflate.runs.load import open_source

    if out is not None and len(runs) > 1:
        raise VoxflateError(f"--out {out}: takes the evaluation of one run, got {len(runs)}; leave it out")
    values = parse_assignments(assignments or [])
    sources = [open_source(run, data, device, values, scans=True, other_data=other_data) for run in runs]
    places = [place_for(source, out) for source in sources]
    for source in sources:
        source.check(snapshot)
    if dry_run:
        for source in sources:
            if len(sources) > 1:
                typer.echo(f"# {source.folder}")
            print_settings(source.settings)
        return
    from voxflate.config.build import choose_device
    from voxflate.evaluation import SuiteSettings
    from voxflate.metrics.extractors.inception import download_inception
    from voxflate.reports.evaluated import write_results
    from voxflate.reports.measure import Sampling, evaluate_source

    if download:
        download_inception()
    for source, place in zip(sources, places, strict=True):
        chosen = SuiteSettings(
            extractors=extractors or [source.settings.evaluation.extractor],
            volume_extractor=volume_extractor,
            slices=slices,
            replicates=replicates,
            seed=seed,
            device=str(choose_device(source.settings.training.device)),
        )
        sampling = Sampling(snapshot, seed, truncation, batch)
        with progress_bar(f"measuring {source.folder.name}") as progress:
            assessment = evaluate_source(source, place, chosen, sampling, progress, print_generator)
        _print_assessment(assessment)
        if source.settings.training.phase == "3d":
            report = write_results([place], place.folder, data, embed, other_data=other_data)
            typer.echo(f"report: {report}")
        typer.echo(f"written to {place.folder}")


def _print_assessment(assessment: Assessment) -> None:
    table = Table("metric")
    for heading in ("generated", "95% interval", "standard error", "real vs real"):
        table.add_column(heading, justify="right")
    for name, metric in assessment.metrics.items():
        ends = "-" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
        rest = ("-" if value is None else f"{value:.4g}" for value in (metric.error, metric.real))
        table.add_row(name, f"{metric.value:.4g}", ends, *rest)
    print_wide(table)
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
