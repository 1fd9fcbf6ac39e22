"""`voxflate invert`: finds the generator's volume closest to a scan."""

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
            help="NIfTI file for the reconstruction. A mask is written beside it as NAME_seg, several "
            "modalities as NAME_MODALITY.",
        ),
    ],
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="Other modalities of the scan, if the generator has several: --channel t2=scan_T2w.nii.gz",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The scan's mask, fitted too. (default: fit only the scan)",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A known label of the subject, e.g. --label age=60. Other labels are fitted.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search; more fit more closely.")] = 400,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.001,
            help="Residual to tolerate, as a standard deviation with intensities from -1 to 1. "
            "A smaller value fits more closely with less likely style codes.",
        ),
    ] = 0.1,
    noise: Annotated[
        bool, typer.Option("--noise/--no-noise", help="Also fit the noise, which gives fine structure.")
    ] = True,
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Find the volume of a generator that is closest to a scan, and write it.

    The scan is prepared like the training data. It should not be one of the training scans: how well it is
    reconstructed shows how much of the anatomy the generator covers.

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
