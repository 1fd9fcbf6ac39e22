"""`voxflate invert`: finds the generator's volume closest to a scan."""

from __future__ import annotations

from pathlib import Path

import typer

from voxflate.cli.options.invert import Labels, Mask, Noise, OtherChannels, Out, Scan, Steps, Tolerance
from voxflate.cli.options.shared import Device, DryRun, MovedData, Run, Snapshot
from voxflate.cli.parsing import named_values
from voxflate.cli.printing import print_generator, print_warning
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings


def invert(
    scan: Scan,
    run: Run,
    out: Out,
    channel: OtherChannels = None,
    mask: Mask = None,
    label: Labels = None,
    steps: Steps = 400,
    tolerance: Tolerance = 0.1,
    noise: Noise = True,
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
        print_settings(
            {
                "scan": scan,
                "run": run,
                "out": out,
                "snapshot": snapshot,
                "channels": {name: str(file) for name, file in others.items()} or None,
                "mask": mask,
                "labels": labels or None,
                "steps": steps,
                "tolerance": tolerance,
                "noise": noise,
                "data": data,
                "device": device,
            }
        )
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
