"""`voxflate invert`: the volume of a generator that comes closest to a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options import RUN_HELP, Device, DryRun, MovedData, Snapshot
from voxflate.cli.parsing import named_values
from voxflate.cli.printing import print_generator, print_warning
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings


def invert(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="A scan: a file, or the folder of a DICOM series.")
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help=RUN_HELP)],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="NIfTI file of the reconstruction. A mask goes beside it as NAME_seg, each of several "
            "modalities as NAME_MODALITY.",
        ),
    ],
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="The scan's further modalities, for a generator of several: --channel t2=scan_T2w.nii.gz",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The scan's mask, to be met too. (default: fit the scan alone)",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="What is known of the subject, e.g. --label age=60. What is not named is free.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search; more come closer.")] = 400,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.001,
            help="What need not be met, as a standard deviation with intensities from -1 to 1. Less comes "
            "closer with rarer style codes.",
        ),
    ] = 0.1,
    noise: Annotated[
        bool, typer.Option("--noise/--no-noise", help="Fit the noise too, which gives fine structure.")
    ] = True,
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Find a scan among the volumes that a generator can make, and write what comes closest.

    The scan is prepared as the training data was. It should be one that the training has not seen: how
    well it is met says how much of anatomy the generator covers.

    Example: voxflate invert new-patient.nii.gz runs/3d --out reconstruction.nii.gz
    """
    others = {name: Path(file) for name, file in named_values("--channel", channel or [], "FILE").items()}
    labels = named_values("--label", label or [])
    if dry_run:
        channels = {name: str(file) for name, file in others.items()}
        files = {"channels": channels or None, "mask": mask and str(mask)}
        settings = {"scan": str(scan), "run": str(run), "out": str(out), "snapshot": snapshot}
        places = {"data": data and str(data), "device": device}
        options = {"labels": labels or None, "steps": steps, "tolerance": tolerance, "noise": noise}
        print_settings({**settings, **files, **options, **places})
        return
    from voxflate.sampling.inversion import Options
    from voxflate.sampling.reconstruct import Subject, reconstruct

    with progress_bar("inverting") as progress:
        found = reconstruct(
            Subject(scan, others, mask, labels),
            run,
            out,
            Options(steps, tolerance, noise),
            snapshot,
            data,
            device,
            progress,
            print_generator,
            print_warning,
        )
    typer.echo(f"{out}: PSNR {found.psnr[0]:.1f} dB against the prepared scan")
