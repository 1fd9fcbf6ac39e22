"""Options shared by several commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.resume import Resume

SETTINGS = "Settings"

Run = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Run folder of voxflate train, an export, or the name of a generator included in voxflate, such "
        "as brains-16.",
    ),
]
"""For commands that need no scans."""

RunWithScans = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Run folder of voxflate train, an export, or the name of a generator included in voxflate, such "
        "as brains-16, with --data.",
    ),
]
"""For commands that need the training scans."""

Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Settings of a row of the paper; NAME@bench is its small version. See: voxflate presets",
        rich_help_panel=SETTINGS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings from a TOML file (missing settings are as recommended, or as in the preset that it "
        "names), or from a run folder to repeat that run.",
        rich_help_panel=SETTINGS,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, such as training.kimg=10; repeatable. All keys: voxflate presets --keys",
        rich_help_panel=SETTINGS,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the resolved settings as TOML and stop.", rich_help_panel=SETTINGS),
]
Data = Annotated[
    Path | None,
    typer.Argument(metavar="DATA", help="Folder made by voxflate prepare.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Folder of the new run.", show_default=False),
]
ResumeMode = Annotated[
    Resume | None,
    typer.Option(
        "--resume",
        metavar="[auto]",
        help="Continue the run in --out from its newest intact snapshot. With auto, start it if there is "
        "none, so that the same command can be submitted repeatedly.",
        show_default=False,
    ),
]
Snapshot = Annotated[
    str,
    typer.Option(
        metavar="newest|best|KIMG",
        help="Snapshot of the run: the newest, the best by its distance (KID) to held-out volumes, or "
        "the one after that many kimg.",
    ),
]
EvaluationOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FOLDER",
        help="Output folder; for an export, outside it. (default: in RUN/evaluation, a new folder, or the "
        "newest one if it is of this snapshot and has no such file yet)",
        show_default=False,
    ),
]
Embed = Annotated[bool, typer.Option("--tsne/--no-tsne", help="Show a t-SNE of the features in the report.")]
MovedData = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="Prepared folder of the run, if it was moved.",
        show_default=False,
    ),
]
OtherData = Annotated[
    bool,
    typer.Option(
        "--other-data",
        help="Allow a data set other than the one trained on; every file written says so.",
    ),
]
PaperRows = Annotated[
    list[str] | None,
    typer.Option(
        "--paper",
        metavar="PRESET",
        help="Also print this preset's row of the paper; repeatable. See: voxflate presets",
        show_default=False,
    ),
]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="How 2D kernels become 3D: inflate-1, inflate-2, inflate-3, inflate-asc, inflate-nwi, "
        "preserving, planar, or none. (default: preserving; planar for a planar twin)",
        show_default=False,
    ),
]
Modules = Annotated[
    str | None,
    typer.Option(
        metavar="g|d|gd",
        help="Networks to inflate: generator, discriminator, or both. (default: gd)",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same result.")]
Truncation = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="1 gives full variety, less is more typical, 0 gives the average."),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="auto (a GPU if there is one), cpu, cuda or cuda:N. (default: the run's training.device)",
        show_default=False,
    ),
]
Batch = Annotated[int, typer.Option(min=1, help="Volumes generated at a time; affects only the rounding.")]
