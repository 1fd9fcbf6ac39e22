"""`voxflate export`: a generator in a form that is safe to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options import DryRun, MovedData, Snapshot
from voxflate.cli.printing import print_next
from voxflate.cli.settings import print_settings


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of voxflate train.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder of the exported generator.")],
    snapshot: Snapshot = "newest",
    data: MovedData = None,
    dry_run: DryRun = False,
) -> None:
    """Write a generator in a form that is safe to share: safetensors and JSON, without data or paths.

    voxflate generate takes the folder in place of a run and needs nothing else; evaluate and audit
    take it with --data.

    Example: voxflate export runs/3d --snapshot best --out brains-generator
    """
    if dry_run:
        print_settings({"run": str(run), "out": str(out), "snapshot": snapshot, "data": data and str(data)})
        return
    from voxflate.runs.export import export_generator

    loaded = export_generator(run, out, snapshot, data)
    for reason in loaded.skipped:
        typer.echo(f"skipped {reason}", err=True)
    typer.echo(f"{out}: {loaded}")
    print_next("generate", out, "-n", 20, "--out", "new-scans")
