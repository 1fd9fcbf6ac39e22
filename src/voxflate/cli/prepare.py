"""`voxflate prepare`: turns scans into a prepared set."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options import DryRun, Seed
from voxflate.cli.parsing import channels_of, pair_of, sides_of
from voxflate.cli.printing import print_prepared
from voxflate.cli.progress import stage_bars
from voxflate.cli.settings import print_settings

_CHANNELS = "Several modalities, masks and labels"
_SCANS = "Choosing and reading scans"
_VALUES = "Intensities and field of view"
_NAMES = "Names"


def prepare(
    ctx: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of DICOM series or files, including subfolders; or a list (.csv, .tsv, .json).",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be missing or empty.")],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="mr: rescale by percentiles. adni: as mr, on a cube. ct: HU window [-250, 650]. "
            "coca: as ct, with 32 slices as in the paper.",
        ),
    ] = "mr",
    shape: Annotated[
        str,
        typer.Option(
            metavar="D,H,W",
            help="Voxels from feet to head, back to front, left to right: a small base times a power of two.",
        ),
    ] = "16,32,32",
    held_out: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the subjects kept out of training.")
    ] = 0.1,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATTERN",
            help="An image channel and its files; the first channel gives the grid. Repeat it for every "
            "channel, such as t1='*_T1w.nii*'. In a list, PATTERN is a column.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    mask: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Files of the masks, such as 'labels/*', or their column in a list; NAME=PATTERN names the "
            "classes.",
            rich_help_panel=_CHANNELS,
        ),
    ] = "",
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A label column of the list or of participants.tsv, such as age; "
            "sex:categorical or age:continuous sets its kind. Repeatable.",
            show_default=False,
            rich_help_panel=_CHANNELS,
        ),
    ] = None,
    only: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Use only files whose name or path below SOURCE matches, such as '*_T1w.nii.gz'.",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out unusable scans and report why, instead of stopping.",
            rich_help_panel=_SCANS,
        ),
    ] = False,
    series: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Use only DICOM series whose description matches, such as 'T1*'.",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    modality: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Use only DICOM series of a modality: CT, MR, PT, ...",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    min_slices: Annotated[
        int,
        typer.Option(
            min=2, metavar="N", help="Leave out DICOM series with fewer slices.", rich_help_panel=_SCANS
        ),
    ] = 3,
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed",
            help="Accept several kinds of scans, and label maps, as one set; otherwise they are refused.",
            rich_help_panel=_SCANS,
        ),
    ] = False,
    subjects: Annotated[
        str,
        typer.Option(
            metavar="auto|folder|file",
            help="Source of the subjects: headers and BIDS names, the first folder below SOURCE, or "
            "one person per file.",
            rich_help_panel=_SCANS,
        ),
    ] = "auto",
    regrid: Annotated[
        bool,
        typer.Option(
            "--regrid",
            help="Resample scans with a tilted gantry, sheared axes or uneven gaps; otherwise they "
            "are refused.",
            rich_help_panel=_SCANS,
        ),
    ] = False,
    assume: Annotated[
        str,
        typer.Option(
            metavar="RAS",
            help="Orientation for files without one; otherwise such files are refused.",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Allow a list to name files outside its folder.", rich_help_panel=_SCANS
        ),
    ] = False,
    window: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH", help="Recipe ct: window in Hounsfield units.", rich_help_panel=_VALUES
        ),
    ] = "-250,650",
    hu_offset: Annotated[
        float,
        typer.Option(
            metavar="HU",
            help="Recipes ct and coca: added to scans that are not in Hounsfield units, such as -1024; "
            "otherwise they are refused.",
            rich_help_panel=_VALUES,
        ),
    ] = 0.0,
    nan: Annotated[
        str,
        typer.Option(
            metavar="air",
            help="With air, NaN voxels become empty space; otherwise they are refused.",
            rich_help_panel=_VALUES,
        ),
    ] = "",
    percentiles: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="Recipes mr and adni: percentiles of a scan that become -1 and 1.",
            rich_help_panel=_VALUES,
        ),
    ] = "0.1,99.9",
    crop: Annotated[
        bool,
        typer.Option(
            "--crop",
            help="Crop scans to their foreground before the field of view is chosen.",
            rich_help_panel=_VALUES,
        ),
    ] = False,
    box: Annotated[
        str,
        typer.Option(
            metavar="largest|percentile|common",
            help="Field of view of the set along each axis: that of the largest scan, of three quarters, or "
            "of the smallest.",
            rich_help_panel=_VALUES,
        ),
    ] = "largest",
    salt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Key of the pseudonyms, created if missing. (default: voxflate/salt in your settings)",
            show_default=False,
            rich_help_panel=_NAMES,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a CSV table, outside OUT, that tells whose pseudonyms they are.",
            show_default=False,
            rich_help_panel=_NAMES,
        ),
    ] = None,
    seed: Seed = 0,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print shapes that suit these scans, with memory and speed, and stop."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Turn scans into a data set to train on.

    Volumes are brought to one orientation, resized, mapped to [-1, 1] and split by subject.
    OUT/report.html shows every volume. After an interruption, the same command continues.

    Example: voxflate prepare scans/ data/brains --recipe mr --shape 16,32,32
    """
    _quiet_readers()
    from voxflate.data.preparing.prepare import check
    from voxflate.data.preparing.prepare import prepare as prepare_set
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.sources.account import Account
    from voxflate.data.sources.names import load_salt
    from voxflate.data.sources.source import Reading

    sides = sides_of(shape)
    reading = Reading(
        assume,
        regrid,
        only,
        allow_outside,
        series,
        modality,
        min_slices,
        mixed,
        subjects,
        nan,
        hu_offset,
        channels=channels_of(channel or [], source),
        mask=mask.rpartition("=")[2],
        mask_name=mask.rpartition("=")[0] or "mask",
        labels=tuple(label or ()),
    )
    options = RecipeOptions(pair_of("--window", window), pair_of("--percentiles", percentiles), crop, box)
    account = Account()
    refused: list[VoxflateError] = []
    refuse = refused.append if skip_bad else None
    if plan:
        from voxflate.cli.plan import print_plan

        print_plan(source, recipe, refuse, reading, options)
        return
    if dry_run:
        check(source, out, recipe, sides, held_out, seed, refuse, reading, options)
        given = {name: str(one) if isinstance(one, Path) else one for name, one in ctx.params.items()}
        given |= {"shape": sides, "window": options.window, "percentiles": options.percentiles}
        print_settings({name: one for name, one in given.items() if name not in ("plan", "dry_run")})
        return
    salt = None if salt_file is None else load_salt(salt_file)
    with stage_bars() as move:
        prepared = prepare_set(
            source,
            out,
            recipe,
            sides,
            held_out,
            seed,
            lambda done, total: move("preparing", done / total),
            refuse,
            reading=reading,
            options=options,
            salt=salt,
            names_file=names,
            looking=lambda done, total: move("looking at files", done / total),
            account=account,
        )
    print_prepared(prepared, refused, account)


def _quiet_readers() -> None:
    """Keep warnings about odd header values off the terminal: we refuse or note what matters."""
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
