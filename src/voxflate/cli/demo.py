"""`voxflate demo`: the whole method on a built-in cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options.shared import DryRun, Seed
from voxflate.cli.progress import stage_bars
from voxflate.cli.settings import print_settings


def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Output folder.")] = Path("runs/demo"),
    minutes: Annotated[
        float, typer.Option(min=0.1, help="Time budget on two cores; it sets the length of the runs.")
    ] = 15.0,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Run everything on built-in brains: cohort, 2D, inflation, 3D from three starts, report.

    At the end, open runs/demo/report.html. After an interruption, the same command continues.
    """
    if dry_run:
        from voxflate.demo.plan import read_plan

        read_plan(out, minutes, seed)
        print_settings({"out": out, "minutes": minutes, "seed": seed})
        return
    from voxflate.demo.run import run_demo

    with stage_bars() as move:
        report = run_demo(out, minutes, seed, move)
    typer.echo(f"report: {report}")
