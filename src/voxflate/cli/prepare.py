"""`voxflate prepare`: scans become a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options import DryRun, Seed
from voxflate.cli.progress import stage_bars
from voxflate.cli.settings import print_settings

if TYPE_CHECKING:
    from voxflate.data.prepared import PreparedSet

_SCANS = "Which scans, and how they are read"
_VALUES = "Intensities and field of view"
_NAMES = "Names"


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Folder of DICOM series or files, subfolders included; or a list of them (.csv, .json).",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; must not hold anything yet.")],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="mr: rescale by percentiles. adni: the same, on a cube. ct: HU window [-250, 650]. "
            "coca: the same, 32 slices as in the paper.",
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
        float, typer.Option(min=0.0, max=1.0, help="Share of the subjects kept away from training.")
    ] = 0.1,
    only: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Take only files whose name or path below SOURCE matches, such as '*_T1w.nii.gz'.",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave out scans that cannot be used, and say why, instead of stopping there.",
            rich_help_panel=_SCANS,
        ),
    ] = False,
    regrid: Annotated[
        bool,
        typer.Option(
            "--regrid",
            help="Resample scans with a tilted gantry, sheared axes or uneven gaps; else they are refused.",
            rich_help_panel=_SCANS,
        ),
    ] = False,
    assume: Annotated[
        str,
        typer.Option(
            metavar="RAS",
            help="Where the axes of files without an orientation point to; else such files are refused.",
            rich_help_panel=_SCANS,
        ),
    ] = "",
    allow_outside: Annotated[
        bool,
        typer.Option(
            "--allow-outside", help="Let a list name files outside its folder.", rich_help_panel=_SCANS
        ),
    ] = False,
    window: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH", help="Recipe ct: Hounsfield units to learn.", rich_help_panel=_VALUES
        ),
    ] = "-250,650",
    percentiles: Annotated[
        str,
        typer.Option(
            metavar="LOW,HIGH",
            help="Recipes mr and adni: percentiles of a scan that become the range to learn.",
            rich_help_panel=_VALUES,
        ),
    ] = "0.1,99.9",
    crop: Annotated[
        bool,
        typer.Option(
            "--crop",
            help="Cut scans down to what is not empty before the field of view is chosen.",
            rich_help_panel=_VALUES,
        ),
    ] = False,
    salt_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Key of the pseudonyms, made if missing. (default: voxflate/salt among your settings)",
            show_default=False,
            rich_help_panel=_NAMES,
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a CSV table, outside of OUT, that says which pseudonym is whose.",
            show_default=False,
            rich_help_panel=_NAMES,
        ),
    ] = None,
    seed: Seed = 0,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Print which shapes suit these scans, with memory and speed, and stop."),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Turn scans into a data set to train on.

    Volumes are turned to one orientation, resized, mapped to [-1, 1] and split by subject.
    OUT/report.html shows every volume. An interrupted call goes on where it was.

    Example: voxflate prepare scans/ data/brains --recipe mr --shape 16,32,32
    """
    from voxflate.data.preparing.prepare import check
    from voxflate.data.preparing.prepare import prepare as prepare_set
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.sources.found import Reading
    from voxflate.data.sources.names import load_salt

    sides = _sides(shape)
    reading = Reading(assume, regrid, only, allow_outside)
    options = RecipeOptions(_pair("--window", window), _pair("--percentiles", percentiles), crop)
    refused: list[VoxflateError] = []
    refuse = refused.append if skip_bad else None
    if plan:
        from voxflate.cli.plan import print_plan

        print_plan(source, recipe, refuse, reading, options)
        return
    if dry_run:
        check(source, out, recipe, sides, held_out, seed, refuse, reading, options)
        print_settings(
            {
                "source": str(source),
                "out": str(out),
                "recipe": recipe,
                "shape": sides,
                "held_out": held_out,
                "only": only,
                "skip_bad": skip_bad,
                "regrid": regrid,
                "assume": assume,
                "allow_outside": allow_outside,
                "window": options.window,
                "percentiles": options.percentiles,
                "crop": crop,
                "seed": seed,
            }
        )
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
        )
    _say(prepared, refused)


def _say(prepared: PreparedSet, refused: list[VoxflateError]) -> None:
    """Say what was made, what was left out, and what is to be looked at."""
    from voxflate.data.preparing.quality import duplicates

    for error in refused:
        typer.echo(f"left out: {error}", err=True)
    scans = prepared.manifest.scans
    for group in duplicates(scans):
        sides = " and ".join(sorted({scans[index].split for index in group}))
        typer.echo(f"copies: {', '.join(scans[index].scan for index in group)} ({sides})", err=True)
    train, heldout = (len(prepared.stored(split)) for split in ("train", "heldout"))
    typer.echo(f"{prepared.root}: {train} volumes to train on, {heldout} held out")
    typer.echo(f"look first: {prepared.root / 'report.html'}")
    typer.echo(f"next: voxflate pretrain {prepared.root} --out runs/2d")


def _sides(text: str) -> tuple[int, int, int]:
    """Read "16,32,32" or "16x32x32".

    Raises:
        VoxflateError: If these are not three whole numbers.
    """
    try:
        depth, height, width = (int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise VoxflateError(f"--shape {text}: expected three whole numbers D,H,W such as 16,32,32") from error
    return depth, height, width


def _pair(option: str, text: str) -> tuple[float, float]:
    """Read "-250,650".

    Raises:
        VoxflateError: If these are not two numbers.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise VoxflateError(f"{option} {text}: expected two numbers LOW,HIGH such as -250,650") from error
    return low, high
