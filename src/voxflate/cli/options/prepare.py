"""The arguments and options of `voxflate prepare`, by panel of its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_CHANNELS = "Several modalities, masks and labels"
_SCANS = "Choosing and reading scans"
_VALUES = "Intensities and field of view"
_NAMES = "Names"

Source = Annotated[
    Path,
    typer.Argument(
        metavar="SOURCE",
        help="Folder of DICOM series or files, including subfolders; or a list (.csv, .tsv, .json).",
    ),
]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be missing or empty.")]
Recipe = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="mr: rescale by percentiles. adni: as mr, on a cube. ct: HU window [-250, 650]. "
        "coca: as ct, but resized in plane only, as in the paper.",
    ),
]
Shape = Annotated[
    str,
    typer.Option(
        metavar="D,H,W",
        help="Voxels from feet to head, back to front, left to right: a small base times a power of two.",
    ),
]
HeldOut = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the subjects kept out of training.")]
Channels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=PATTERN",
        help="An image channel and its files; the first channel gives the grid. Repeat it for every "
        "channel, such as t1='*_T1w.nii*'. In a list, PATTERN is a column.",
        show_default=False,
        rich_help_panel=_CHANNELS,
    ),
]
Mask = Annotated[
    str,
    typer.Option(
        metavar="PATTERN",
        help="Files of the masks, such as 'labels/*', or their column in a list; NAME=PATTERN names the "
        "classes.",
        rich_help_panel=_CHANNELS,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="A label column of the list or of participants.tsv, such as age; "
        "sex:categorical or age:continuous sets its kind. Repeatable.",
        show_default=False,
        rich_help_panel=_CHANNELS,
    ),
]
Only = Annotated[
    str,
    typer.Option(
        metavar="PATTERN",
        help="Use only files whose name or path below SOURCE matches, such as '*_T1w.nii.gz'.",
        rich_help_panel=_SCANS,
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out unusable scans and report why, instead of stopping.",
        rich_help_panel=_SCANS,
    ),
]
Series = Annotated[
    str,
    typer.Option(
        metavar="PATTERN",
        help="Use only DICOM series whose description matches, such as 'T1*'.",
        rich_help_panel=_SCANS,
    ),
]
Modality = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="With DICOM: use only series of this modality (CT, MR, PT, ...). With files that name none, "
        "such as NIfTI: states their modality, if it is not the recipe's.",
        rich_help_panel=_SCANS,
    ),
]
MinSlices = Annotated[
    int,
    typer.Option(
        min=2, metavar="N", help="Leave out DICOM series with fewer slices than N.", rich_help_panel=_SCANS
    ),
]
Mixed = Annotated[
    bool,
    typer.Option(
        "--mixed",
        help="Accept several kinds of scans, and label maps, as one set; otherwise they are refused.",
        rich_help_panel=_SCANS,
    ),
]
Subjects = Annotated[
    str,
    typer.Option(
        metavar="auto|folder|file",
        help="Source of the subjects: headers and BIDS names, the first folder below SOURCE, or "
        "one person per file.",
        rich_help_panel=_SCANS,
    ),
]
Regrid = Annotated[
    bool,
    typer.Option(
        "--regrid",
        help="Resample scans with a tilted gantry, sheared axes or uneven gaps; otherwise they are refused.",
        rich_help_panel=_SCANS,
    ),
]
Assume = Annotated[
    str,
    typer.Option(
        metavar="RAS",
        help="Orientation for files without one; otherwise such files are refused.",
        rich_help_panel=_SCANS,
    ),
]
AllowOutside = Annotated[
    bool,
    typer.Option(
        "--allow-outside", help="Allow a list to name files outside its folder.", rich_help_panel=_SCANS
    ),
]
Window = Annotated[
    str,
    typer.Option(metavar="LOW,HIGH", help="Recipe ct: window in Hounsfield units.", rich_help_panel=_VALUES),
]
HuOffset = Annotated[
    float,
    typer.Option(
        metavar="HU",
        help="Recipes ct and coca: added to scans that are not in Hounsfield units, such as -1024; "
        "otherwise they are refused.",
        rich_help_panel=_VALUES,
    ),
]
NaN = Annotated[
    str,
    typer.Option(
        metavar="air",
        help="With air, NaN voxels become empty space; otherwise they are refused.",
        rich_help_panel=_VALUES,
    ),
]
Percentiles = Annotated[
    str,
    typer.Option(
        metavar="LOW,HIGH",
        help="Recipes mr and adni: percentiles of a scan that become -1 and 1.",
        rich_help_panel=_VALUES,
    ),
]
Crop = Annotated[
    bool,
    typer.Option(
        "--crop",
        help="Crop scans to their foreground before the field of view is chosen.",
        rich_help_panel=_VALUES,
    ),
]
Box = Annotated[
    str,
    typer.Option(
        metavar="largest|percentile|common",
        help="Field of view of the set, along each axis: largest, of the largest scan (nothing is cut off); "
        "percentile, of the 75th percentile; common, of the smallest scan (no air is added).",
        rich_help_panel=_VALUES,
    ),
]
SaltFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Key of the pseudonyms, created if missing. (default: voxflate/salt in your settings folder)",
        show_default=False,
        rich_help_panel=_NAMES,
    ),
]
Names = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also write a CSV table of pseudonyms and names; it must be outside OUT.",
        show_default=False,
        rich_help_panel=_NAMES,
    ),
]
Plan = Annotated[
    bool,
    typer.Option("--plan", help="Print shapes that suit these scans, with memory and speed, and stop."),
]
