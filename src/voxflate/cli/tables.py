"""`voxflate params` and `voxflate presets`: tables to read."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from voxflate.cli.settings import print_settings
from voxflate.config.presets import PRESETS, preset
from voxflate.config.toml import describe_settings

DIFFERS = 1


def params() -> None:
    """Count the parameters of every row of the paper's tables beside the paper's figures.

    The exit status is 1 if a row differs. E is an encoder, C a discriminator of codes.
    """
    from voxflate.config.params import compare_counts, differences

    comparisons = compare_counts()
    table = Table("setting", "model", title="Trainable parameters", title_justify="left")
    networks = {"generator": "G", "discriminator": "D", "encoder": "E", "code_discriminator": "C"}
    for heading in ("paper (M)", "ours (M)", *networks.values()):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in comparisons:
        millions = (f"{figure:.3f}" for figure in (row.paper.millions, row.total / 1e6))
        counts = (f"{row.ours[name]:,}" if name in row.ours else "" for name in networks)
        table.add_row(row.paper.setting, row.paper.model, *millions, *counts, row.remark)
    _print(table)
    rows, different = sum(row.paper.counts for row in comparisons), differences(comparisons)
    typer.echo(f"{rows - len(different)} of {rows} rows equal the paper", err=True)
    if different:
        raise typer.Exit(DIFFERS)


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Print this preset as TOML instead of the list.", show_default=False
        ),
    ] = None,
    two_d: Annotated[bool, typer.Option("--2d", help="With NAME: the 2D run that precedes it.")] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List every setting with its default.")] = False,
) -> None:
    """List the settings of the paper's rows, or print one; NAME@bench is the small form of NAME.

    The FID figures are the paper's. They come from its data and its feature network.

    Example: voxflate presets coca64-split-shuffle-inflate-1@bench
    """
    if keys:
        for key, default, meaning in describe_settings():
            typer.echo(f"{key} = {_toml(default)}\n    {meaning}")
    elif name:
        print_settings(preset(name, "2d" if two_d else "3d"))
    else:
        _print(_preset_table())


def _preset_table() -> Table:
    table = Table("preset", "table", "row", "shape", "start", title="Rows of the paper", title_justify="left")
    table.add_column("FID-avg", justify="right")
    for name, row in PRESETS.items():
        start = row.run.start
        modules = "" if start.strategy == "none" or start.modules == "gd" else f" ({start.modules.upper()})"
        shape = "x".join(str(side) for side in row.run.network.shape)
        table.add_row(name, row.tables, row.label, shape, start.strategy + modules, f"{row.fid[-1]:.1f}")
    return table


def _print(table: Table) -> None:
    """Print at full width: a table that is cut to 80 columns in a file or a pipe is of no use."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def _toml(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
