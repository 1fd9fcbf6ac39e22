"""The arguments and options of `voxflate invert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Scan = Annotated[
    Path, typer.Argument(metavar="SCAN", help="A scan: a file, or the folder of a DICOM series.")
]
Out = Annotated[
    Path,
    typer.Option(
        metavar="FILE",
        help="NIfTI file for the reconstruction. A mask is written beside it as NAME_seg, several "
        "modalities as NAME_MODALITY.",
    ),
]
OtherChannels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Other modalities of the scan, if the generator has several: --channel t2=scan_T2w.nii.gz",
        show_default=False,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The scan's mask, fitted too. (default: fit only the scan)",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A known label of the subject, e.g. --label age=60. Other labels are fitted.",
        show_default=False,
    ),
]
Steps = Annotated[int, typer.Option(min=1, help="Steps of the search; more steps fit more closely.")]
Tolerance = Annotated[
    float,
    typer.Option(
        min=0.001,
        help="Residual to tolerate, as a standard deviation with intensities from -1 to 1. "
        "A smaller value fits more closely with less likely style codes.",
    ),
]
Noise = Annotated[
    bool, typer.Option("--noise/--no-noise", help="Also fit the noise, which gives fine structure.")
]
