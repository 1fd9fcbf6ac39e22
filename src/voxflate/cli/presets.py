"""`voxflate presets`: the settings of every row of the paper's tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from rich.table import Table

from voxflate.cli.printing import number_table, print_wide
from voxflate.cli.settings import print_settings
from voxflate.config.presets import PRESETS
from voxflate.config.recommended import DEFAULT_STRATEGY
from voxflate.config.schema import DEFAULT_MODEL, INFLATIONS, MODELS, RunConfig
from voxflate.config.toml import describe_settings, from_values
from voxflate.config.values import Values, flat


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="Print the settings of this preset as TOML.", show_default=False
        ),
    ] = None,
    two_d: Annotated[bool, typer.Option("--2d", help="With NAME: settings of the 2D run before it.")] = False,
    keys: Annotated[
        bool,
        typer.Option("--keys", help="Explain every setting, with its value in NAME or its recommended one."),
    ] = False,
) -> None:
    """List the rows of the paper's tables, or print the settings of one; NAME@bench is its small version.

    A settings file names a preset at its top, preset = "NAME", and changes single settings. The FIDs are the
    paper's, from its data and its feature network.

    Example: voxflate presets coca64-split-shuffle-inflate-1@bench
    """
    config = from_values({"preset": name or "", "training.phase": "2d" if two_d else "3d"}, "presets")
    if keys:
        _explain(config, {} if name or two_d else recommended_elsewhere())
    elif name:
        print_settings(config)
    else:
        print_wide(_preset_table(), 160)


_SHAPES: Mapping[str, Values] = {
    "--set network.base=4,4,4 --set network.stages=5": {"network.base": (4, 4, 4), "network.stages": 5},
    "--set network.image_channels=2": {"network.image_channels": 2},
}


def other_cases() -> dict[str, Values]:
    """Runs with their own recommended values: how to write them on a command line, and the settings."""
    cases: dict[str, Values] = {"pretrain": {"training.phase": "2d"}}
    cases["pretrain --twin planar"] = {"training.phase": "2d", "training.twin": "planar"}
    cases |= {f"--strategy {name}": {"start.strategy": name} for name in INFLATIONS}
    inflated = {"start.strategy": DEFAULT_STRATEGY}
    for words, named in _SHAPES.items():
        cases |= {words: named, f"--strategy {DEFAULT_STRATEGY} {words}": {**inflated, **named}}
    return cases | {f"--set model={name}": {"model": name} for name in MODELS if name != DEFAULT_MODEL}


def recommended_elsewhere() -> dict[str, Values]:
    """The recommended values of `other_cases`, without the settings that make the case."""
    found: dict[str, Values] = {}
    for words, named in other_cases().items():
        values = flat(from_values(named).model_dump())
        found[words] = {key: value for key, value in values.items() if key not in named}
    return found


def other_values(key: str, value: object, elsewhere: Mapping[str, Values]) -> dict[str, list[str]]:
    """Recommended values of a setting that differ from `value`, in TOML -> the words of their cases."""
    found: dict[str, list[str]] = {}
    for words, values in elsewhere.items():
        if key in values and values[key] != value:
            found.setdefault(as_toml(values[key]), []).append(words)
    return found


def _explain(config: RunConfig, elsewhere: Mapping[str, Values]) -> None:
    """Print every setting with its meaning, and the cases with another value."""
    values = flat(config.model_dump())
    for key, _, meaning in describe_settings():
        typer.echo(f"{key} = {as_toml(values[key])}\n    {meaning}")
        for value, cases in other_values(key, values[key], elsewhere).items():
            typer.echo(f"    {value} with {', '.join(cases)}")


def _preset_table() -> Table:
    words = ["preset", "table", "row", "shape", "start"]
    table = number_table(words, ["FID-avg"], "Rows of the paper")
    for name, preset in PRESETS.items():
        config, row = RunConfig(preset=name), preset.row
        start, label = config.start, ", ".join(filter(None, (row.label, preset.reading)))
        modules = "" if start.strategy == "none" or start.modules == "gd" else f" ({start.modules.upper()})"
        shape = "x".join(str(side) for side in config.network.shape)
        table.add_row(name, row.tables, label, shape, start.strategy + modules, f"{row.fid[-1]:.1f}")
    return table


def as_toml(value: object) -> str:
    """Write the value of a setting in TOML."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
