"""`voxflate verify`: checks that a run or an export has not changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from voxflate.cli.options.shared import MovedData
from voxflate.cli.printing import print_wide
from voxflate.cli.progress import progress_bar

DIFFERS = 1
_MARKS = {True: "matches", False: "DIFFERS", None: "-"}


def verify(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Run folder of voxflate train or pretrain, an export, or the name of a generator included "
            "in voxflate, such as brains-16.",
        ),
    ],
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="newest|best|KIMG", help="Verify this snapshot only. (default: all)", show_default=False
        ),
    ] = None,
    data: MovedData = None,
) -> None:
    """Recompute the hashes of data, snapshots and samples, and report whether they match.

    The exit status is 1 if something differs. The data of an export is checked if given with --data.

    Example: voxflate verify runs/3d
    """
    from voxflate.runs.verify import verify_folder

    with progress_bar("verifying") as progress:
        checks = verify_folder(run, data, progress, snapshot)
    table = Table("checked", "", "found")
    for check in checks:
        table.add_row(check.name, _MARKS[check.matches], check.found)
    print_wide(table)
    wrong = sum(check.matches is False for check in checks)
    undecided = sum(check.matches is None for check in checks)
    if wrong:
        typer.echo(f"{run}: {wrong} of {len(checks)} checks differ")
    elif undecided:
        typer.echo(f"{run}: nothing differs; {undecided} of {len(checks)} checks are undecided")
    else:
        typer.echo(f"{run}: everything matches")
    if wrong:
        raise typer.Exit(DIFFERS)
