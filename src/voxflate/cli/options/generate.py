"""The options of `voxflate generate`."""

from __future__ import annotations

from typing import Annotated

import typer

FileFormat = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="nifti|dicom",
        help="NIfTI files, or a folder of DICOM slices per volume (CT or MR).",
    ),
]
Layout = Annotated[
    str,
    typer.Option(
        metavar="flat|nnunet|bids|monai",
        help="Layout of the folder: all volumes in one folder, or as nnU-Net, BIDS or MONAI expect it.",
    ),
]
Air = Annotated[
    float | None,
    typer.Option(
        metavar="HU",
        help="CT: HU for voxels at the lower end of the window, such as -1000. (default: that end)",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="A label for all volumes, e.g. --label sex=F --label age=60. Labels that are not given "
        "are drawn jointly as in the training set; labels.csv has those of each volume.",
        show_default=False,
    ),
]
