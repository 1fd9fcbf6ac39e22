"""`voxflate verify` and `voxflate export`: whether a run can be trusted, and how it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from voxflate.cli.options import DryRun, MovedData, Snapshot
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings

DIFFERS = 1
_MARKS = {True: "matches", False: "DIFFERS", None: "-"}


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train or pretrain.")],
    data: MovedData = None,
) -> None:
    """Recompute the hashes of a run's data, snapshots and samples, and say whether they match.

    The exit status is 1 if something differs.

    Example: voxflate verify runs/3d
    """
    from voxflate.runs.verify import verify_run

    with progress_bar("verifying") as progress:
        checks = verify_run(run, data, progress)
    table = Table("checked", "", "found")
    for check in checks:
        table.add_row(check.name, _MARKS[check.matches], check.found)
    Console().print(table)
    wrong = sum(check.matches is False for check in checks)
    typer.echo(f"{run}: {f'{wrong} of {len(checks)} checks differ' if wrong else 'everything matches'}")
    if wrong:
        raise typer.Exit(DIFFERS)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the exported generator.")],
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    dry_run: DryRun = False,
) -> None:
    """Write a generator in a form that is safe to share: safetensors and JSON, without data or paths.

    voxflate generate takes the folder in place of a run, and needs nothing else.

    Example: voxflate export runs/3d --snapshot best --out brains-generator
    """
    if dry_run:
        print_settings({"run": str(run), "out": str(out), "snapshot": snapshot, "data": data and str(data)})
        return
    from voxflate.runs.export import export_generator

    n_images = export_generator(run, out, snapshot, data)
    typer.echo(
        f"{out}: the generator after {n_images} images; next: voxflate generate {out} -n 20 --out new-scans"
    )
