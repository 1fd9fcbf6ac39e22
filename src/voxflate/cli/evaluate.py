"""`voxflate evaluate`: how good, how diverse, and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.foreign import (
    evaluate_folder,
    is_volume_folder,
    refuse_options_of_runs,
    refuse_other_training,
)
from voxflate.cli.options.evaluate import (
    Download,
    Extractors,
    FolderOptions,
    Prepare,
    Replicates,
    Runs,
    Slices,
    SuiteOptions,
    ValueRange,
    VolumeExtractor,
)
from voxflate.cli.options.shared import (
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
from voxflate.cli.printing import print_assessment, print_cautions, print_generator, print_report
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.config.toml import parse_assignments

if TYPE_CHECKING:
    from pathlib import Path

    from voxflate.evaluation import Assessment
    from voxflate.reports.evaluations import Place
    from voxflate.reports.measure import Sampling
    from voxflate.runs.load import Source


def evaluate(
    runs: Runs,
    out: EvaluationOut = None,
    snapshot: Snapshot = "newest",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    other_data: OtherData = False,
    device: Device = None,
    extractors: Extractors = None,
    volume_extractor: VolumeExtractor = "auto",
    slices: Slices = 1,
    replicates: Replicates = 200,
    value_range: ValueRange = None,
    prepare: Prepare = False,
    download: Download = False,
    embed: Embed = True,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Measure how far generated volumes are from real ones, next to the distance between halves of these.

    Frechet and kernel distances, precision and recall, MS-SSIM and PSNR, with 95% intervals. Writes a new
    folder in RUN/evaluation: metrics.json, report.html, table.md, table.tex. The number of volumes is
    evaluation.samples; a folder of volumes is measured completely. An export or a folder of volumes needs
    --data and --out.

    Example: voxflate evaluate runs/3d --snapshot best --set evaluation.samples=500

    Example: voxflate evaluate other-method/volumes --data data/brains --out other-method/evaluation
    """
    from voxflate.reports.evaluations import METRICS
    from voxflate.reports.measure import Sampling
    from voxflate.reports.places import place_for, reserved
    from voxflate.runs.load import open_source

    if out is not None and len(runs) > 1:
        raise VoxflateError(f"--out {out}: works for one run only, got {len(runs)}; leave it out")
    values = parse_assignments(assignments or [])
    options = SuiteOptions(extractors, volume_extractor, slices, replicates, seed, device)
    reading = FolderOptions(value_range, prepare)
    if any(is_volume_folder(run) for run in runs):
        refuse_options_of_runs(snapshot, truncation, other_data)
        evaluate_folder(runs, data, out, values, reading, options, batch, embed, dry_run)
        return
    reading.refuse()
    sources = [open_source(run, data, device, values, scans=True, other_data=other_data) for run in runs]
    refuse_other_training(values)
    for source in sources:
        source.check(snapshot)
    places = [place_for(source, out, snapshot) for source in sources]
    if dry_run:
        _print_settings_of(sources)
        return
    from voxflate.metrics.extractors.inception import download_inception

    if download:
        download_inception()
    sampling = Sampling(snapshot, seed, truncation, batch)
    for source, place in zip(sources, places, strict=True):
        with reserved(place, METRICS) as held:
            print_assessment(_measured(source, held, options, sampling))
            if source.settings.training.phase == "3d":
                _report(held, data, embed, other_data)
            typer.echo(f"written to {held.folder}")


def _report(place: Place, data: Path | None, embed: bool, other_data: bool) -> None:
    from voxflate.reports.evaluated import report_evaluations

    report = report_evaluations([place], place.folder, data, embed, other_data=other_data)
    print_cautions(place, other_data=other_data)
    print_report(report)


def _measured(source: Source, place: Place, options: SuiteOptions, sampling: Sampling) -> Assessment:
    """Generate volumes with a run and measure them, with a progress bar."""
    from voxflate.reports.measure import evaluate_source

    settings = source.settings
    suite = replace(options, device=settings.training.device).resolved(settings.evaluation.extractor)
    with progress_bar(f"measuring {source.folder.name}") as progress:
        return evaluate_source(source, place, suite, sampling, progress, print_generator)


def _print_settings_of(sources: Sequence[Source]) -> None:
    for source in sources:
        if len(sources) > 1:
            typer.echo(f"# {source.folder}")
        print_settings(source.settings)
