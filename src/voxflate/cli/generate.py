"""`voxflate generate`: new volumes from a trained run or an export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate.cli.options.generate import Air, FileFormat, Labels, Layout
from voxflate.cli.options.shared import (
    Batch,
    Device,
    DryRun,
    MovedData,
    OtherData,
    Run,
    Seed,
    Snapshot,
    Truncation,
)
from voxflate.cli.parsing import named_values
from voxflate.cli.printing import print_generator, print_warning
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings

if TYPE_CHECKING:
    from voxflate.runs.load import Loaded


def generate(
    run: Run,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of volumes.")] = 10,
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    file_format: FileFormat = "nifti",
    layout: Layout = "flat",
    air: Air = None,
    label: Labels = None,
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    other_data: OtherData = False,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Write new volumes as NIfTI or DICOM, with the geometry of the data.

    NIfTI, and DICOM of CT, hold the intensities of the data; DICOM of MR holds 0 to 4095 without a unit.
    Other modalities are written as NIfTI only.

    Volume k of a seed is the same for any number of volumes; another --batch changes only the rounding. A
    mask is written beside its scan as NAME_seg.nii.gz.

    evaluate and audit measure truncation 1 unless told otherwise. A --truncation below 1 also weakens labels:
    a volume for --label age=80 looks younger.

    Example: voxflate generate runs/3d -n 100 --seed 0 --out new-scans
    """
    from voxflate.sampling.asked import draw_labels
    from voxflate.sampling.generate import check_generation
    from voxflate.sampling.generate import generate as generate_volumes

    labels = named_values("--label", label or [])
    if dry_run:
        source = check_generation(run, out, data, device, file_format, layout, snapshot, air, other_data)
        settings = source.settings
        draw_labels(source.labels, labels, seed, 0, n)
        print_settings(
            {
                "run": run,
                "out": out,
                "n": n,
                "seed": seed,
                "truncation": truncation,
                "batch": batch,
                "format": file_format,
                "layout": layout,
                "air": air,
                "labels": labels or None,
                "snapshot": snapshot,
                "data": settings.data,
                "device": settings.training.device,
            }
        )
        return

    def tell(loaded: Loaded) -> None:
        print_generator(loaded)
        if labels and truncation < 1:
            typer.echo(
                f"note: --truncation {truncation:g} weakens the effect of --label; 1 does not", err=True
            )

    with progress_bar("generating") as progress:
        files = generate_volumes(
            run,
            n,
            seed=seed,
            truncation=truncation,
            out=out,
            batch=batch,
            snapshot=snapshot,
            data=data,
            device=device,
            file_format=file_format,
            layout=layout,
            air=air,
            other_data=other_data,
            labels=labels,
            progress=progress,
            tell=tell,
            warn=print_warning,
        )
    if len(files) == 1:
        typer.echo(f"{out}: {files[0].name}")
    else:
        typer.echo(f"{out}: {len(files)} volumes, {files[0].name} to {files[-1].name}")
