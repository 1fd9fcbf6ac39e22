"""`voxflate evaluate`: how good, how diverse, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.foreign import SuiteOptions, evaluate_folder, is_volume_folder
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
from voxflate.cli.printing import print_assessment, print_generator
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from voxflate.runs.load import Source


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders of voxflate train or pretrain, exports, or folders of NIfTI volumes from "
            "another method.",
        ),
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
            help="Feature network, or a .pt or .onnx file; repeatable, the first one is the main one. "
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
    value_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            metavar="LOW,HIGH",
            help="For a folder of volumes: the values that correspond to the darkest and brightest of the "
            "real ones. (default: the real ones' own, such as -250,650 HU)",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download Inception's weights if they are missing (91 MB).")
    ] = False,
    embed: Embed = True,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Measure how far generated volumes are from real ones, compared with real against real.

    Frechet and kernel distances, precision and recall, MS-SSIM and PSNR, with 95% intervals. Writes a new
    folder in RUN/evaluation: metrics.json, report.html, table.md, table.tex. The number of volumes is
    evaluation.samples; a folder of volumes is measured completely. An export or a folder of volumes needs
    --data and --out.

    Example: voxflate evaluate runs/3d --snapshot best --set evaluation.samples=500

    Example: voxflate evaluate other-method/volumes --data data/brains --out other-method/evaluation
    """
    from voxflate.reports.measure import place_for
    from voxflate.runs.load import open_source

    if out is not None and len(runs) > 1:
        raise VoxflateError(f"--out {out}: works for one run only, got {len(runs)}; leave it out")
    values = parse_assignments(assignments or [])
    if any(is_volume_folder(run) for run in runs):
        of_generators = {
            "--snapshot": snapshot != "newest",
            "--truncation": truncation != 1.0,
            "--other-data": other_data,
        }
        if given := [name for name, is_given in of_generators.items() if is_given]:
            raise VoxflateError(f"{given[0]}: does not apply to a folder of volumes; leave it out")
        measured = SuiteOptions(extractors, volume_extractor, slices, replicates, seed, device)
        evaluate_folder(runs, data, out, values, value_range, measured, batch, embed, dry_run)
        return
    if value_range is not None:
        raise VoxflateError(f"--range {value_range}: is for folders of volumes; a run knows its own values")
    sources = [open_source(run, data, device, values, scans=True, other_data=other_data) for run in runs]
    for source in sources:
        source.check(snapshot)
    places = [place_for(source, out, snapshot) for source in sources]
    if dry_run:
        _print_settings_of(sources)
        return
    from voxflate.metrics.extractors.inception import download_inception
    from voxflate.reports.evaluated import write_results
    from voxflate.reports.measure import Sampling, evaluate_source

    if download:
        download_inception()
    for source, place in zip(sources, places, strict=True):
        where = source.settings.training.device
        options = SuiteOptions(extractors, volume_extractor, slices, replicates, seed, where)
        sampling = Sampling(snapshot, seed, truncation, batch)
        chosen = options.resolved(source.settings.evaluation.extractor)
        with progress_bar(f"measuring {source.folder.name}") as progress:
            assessment = evaluate_source(source, place, chosen, sampling, progress, print_generator)
        print_assessment(assessment)
        if source.settings.training.phase == "3d":
            report = write_results([place], place.folder, data, embed, other_data=other_data)
            typer.echo(f"report: {report}")
        typer.echo(f"written to {place.folder}")


def _print_settings_of(sources: Sequence[Source]) -> None:
    for source in sources:
        if len(sources) > 1:
            typer.echo(f"# {source.folder}")
        print_settings(source.settings)
