"""`voxflate prepare`: a folder of scans becomes a prepared data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options import DryRun, Seed
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings
from voxflate.errors import VoxflateError


def prepare(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="Folder of DICOM series or NIfTI files, subfolders included."),
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
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out scans that cannot be used, and say why, instead of stopping there."
        ),
    ] = False,
    assume: Annotated[
        str,
        typer.Option(
            metavar="RAS",
            help="Where the axes of files without an orientation point to; else such files are refused.",
        ),
    ] = "",
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Turn a folder of scans into a data set to train on.

    Volumes are turned to one orientation, resized, mapped to [-1, 1] and split by subject.
    The manifest in OUT says how.

    Example: voxflate prepare scans/ data/brains --recipe mr --shape 16,32,32
    """
    sides = _sides(shape)
    from voxflate.data.prepare import check
    from voxflate.data.prepare import prepare as prepare_set

    refused: list[VoxflateError] = []
    refuse = refused.append if skip_bad else None
    if dry_run:
        check(source, out, recipe, sides, held_out, seed, refuse, assume)
        print_settings(
            {
                "source": str(source),
                "out": str(out),
                "recipe": recipe,
                "shape": sides,
                "held_out": held_out,
                "skip_bad": skip_bad,
                "assume": assume,
                "seed": seed,
            }
        )
        return
    with progress_bar("preparing") as progress:
        prepared = prepare_set(source, out, recipe, sides, held_out, seed, progress, refuse, assume)
    for error in refused:
        typer.echo(f"left out: {error}", err=True)
    train, heldout = (len(prepared.stored(split)) for split in ("train", "heldout"))
    typer.echo(f"{out}: {train} volumes to train on, {heldout} held out")
    typer.echo(f"next: voxflate pretrain {out} --out runs/2d")


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
