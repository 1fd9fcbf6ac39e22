"""`voxflate invert`: the volume of a generator that comes closest to a scan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options import Device, DryRun, MovedData, Snapshot
from voxflate.cli.printing import print_generator
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings


def invert(
    scan: Annotated[
        Path, typer.Argument(metavar="SCAN", help="A scan: a file, or the folder of a DICOM series.")
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train, or an export.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="NIfTI file of the reconstruction.")],
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
    if dry_run:
        settings = {"scan": str(scan), "run": str(run), "out": str(out), "snapshot": snapshot}
        places = {"data": data and str(data), "device": device}
        print_settings({**settings, "steps": steps, "tolerance": tolerance, "noise": noise, **places})
        return
    from voxflate.sampling.reconstruct import Options, reconstruct

    options = Options(steps, tolerance, noise)
    with progress_bar("inverting") as progress:
        found = reconstruct(scan, run, out, options, snapshot, data, device, progress, print_generator)
    typer.echo(f"{out}: PSNR {found.psnr[0]:.1f} dB against the prepared scan")
