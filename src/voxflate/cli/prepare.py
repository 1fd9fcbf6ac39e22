"""`voxflate prepare`: turns scans into a prepared set."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options.prepare import (
    AllowOutside,
    Assume,
    Box,
    Channels,
    Crop,
    HeldOut,
    HuOffset,
    Labels,
    Mask,
    MinSlices,
    Mixed,
    Modality,
    Names,
    NaN,
    Only,
    Out,
    Percentiles,
    Plan,
    Recipe,
    Regrid,
    SaltFile,
    Series,
    Shape,
    SkipBad,
    Source,
    Subjects,
    Window,
)
from voxflate.cli.options.shared import DryRun, Seed
from voxflate.cli.parsing import channels_of, pair_of, sides_of
from voxflate.cli.printing import options_given, print_prepared
from voxflate.cli.progress import stage_bars
from voxflate.cli.settings import print_settings

if TYPE_CHECKING:
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.sources.account import Account


def prepare(
    ctx: typer.Context,
    source: Source,
    out: Out,
    recipe: Recipe = "mr",
    shape: Shape = "16,32,32",
    held_out: HeldOut = 0.1,
    channel: Channels = None,
    mask: Mask = "",
    label: Labels = None,
    only: Only = "",
    skip_bad: SkipBad = False,
    series: Series = "",
    modality: Modality = "",
    min_slices: MinSlices = 3,
    mixed: Mixed = False,
    subjects: Subjects = "auto",
    regrid: Regrid = False,
    assume: Assume = "",
    allow_outside: AllowOutside = False,
    window: Window = "-250,650",
    hu_offset: HuOffset = 0.0,
    nan: NaN = "",
    percentiles: Percentiles = "0.1,99.9",
    crop: Crop = False,
    box: Box = "largest",
    salt_file: SaltFile = None,
    names: Names = None,
    seed: Seed = 0,
    plan: Plan = False,
    dry_run: DryRun = False,
) -> None:
    """Turn scans into a data set to train on.

    Volumes are brought to one orientation, resized, mapped to [-1, 1] and split by subject.
    OUT/report.html shows every volume. After an interruption, the same command continues.

    Example: voxflate prepare scans/ data/brains --recipe mr --shape 16,32,32
    """
    _quiet_readers()
    from voxflate.data.preparing.prepare import check, cohort_grids
    from voxflate.data.preparing.prepare import prepare as prepare_set
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.sources.account import Account
    from voxflate.data.sources.names import load_salt
    from voxflate.data.sources.source import Reading

    sides = sides_of(shape)
    mask_name, equals, mask_pattern = mask.rpartition("=")
    if equals and not (mask_name and mask_pattern):
        raise VoxflateError(f"--mask {mask}: expected PATTERN, or NAME=PATTERN such as tumour='labels/*'")
    reading = Reading(
        assume=assume,
        regrid=regrid,
        only=only,
        allow_outside=allow_outside,
        series=series,
        modality=modality,
        min_slices=min_slices,
        mixed=mixed,
        subjects=subjects,
        nan=nan,
        hu_offset=hu_offset,
        channels=channels_of(channel or [], source),
        mask=mask_pattern,
        mask_name=mask_name or "mask",
        labels=tuple(label or ()),
    )
    options = RecipeOptions(
        pair_of("--window", window), pair_of("--percentiles", percentiles, "0.1,99.9"), crop, box
    )
    refused: list[VoxflateError] = []
    refuse = refused.append if skip_bad else None
    account = Account()
    if plan:
        from voxflate.cli.plan import print_plan

        print_plan(
            lambda move: cohort_grids(
                source, out, recipe, held_out, seed, refuse, reading, options, progress=move, account=account
            ),
            recipe,
            options,
            ["prepare", source, out, *options_given(ctx, but=("shape", "plan", "dry_run"))],
        )
        _print_left_out(refused, account)
        return
    if dry_run:
        check(source, out, recipe, sides, held_out, seed, refuse, reading, options)
        _print_resolved(ctx.params, sides, options)
        _print_left_out(refused, account)
        return
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
            salt=None if salt_file is None else load_salt(salt_file, out),
            names_file=names,
            looking=lambda done, total: move("looking at files", done / total),
            account=account,
        )
    print_prepared(prepared, refused, account)


def _print_resolved(given: Mapping[str, Any], sides: tuple[int, int, int], options: RecipeOptions) -> None:
    """Print the options as TOML, those of several numbers as numbers."""
    parsed = {"shape": sides, "window": options.window, "percentiles": options.percentiles}
    shown = {name: value for name, value in given.items() if name not in ("plan", "dry_run")}
    print_settings({**shown, **parsed})


def _print_left_out(refused: Sequence[VoxflateError], account: Account) -> None:
    """Print which scans a plan leaves out, and its notes."""
    for error in refused:
        typer.echo(f"left out: {error}", err=True)
    for note in account.notes:
        typer.echo(f"note: {note}", err=True)


def _quiet_readers() -> None:
    """Keep warnings about odd header values off the terminal: we refuse or note what matters."""
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
