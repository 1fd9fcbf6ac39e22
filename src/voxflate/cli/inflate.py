"""`voxflate inflate`: turns a 2D run into an untrained 3D run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options.shared import (
    Assignments,
    DryRun,
    Modules,
    Strategy,
)
from voxflate.cli.printing import print_next
from voxflate.cli.settings import (
    Sources,
    named_for_train,
    new_run_folder,
    print_settings,
    settings_of_train,
)


def inflate(
    run: Annotated[Path, typer.Argument(metavar="RUN2D", help="Run folder of voxflate pretrain.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the new 3D run.")],
    strategy: Strategy = None,
    modules: Modules = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Turn a 2D run into a 3D run without training it.

    `voxflate train --start` does the same and then trains. Use this to see the first samples, and
    inflation.json, which lists every parameter as inflated, copied or fresh.

    Example: voxflate inflate runs/2d --strategy inflate-1 --out runs/inflated
    """
    named = named_for_train(Sources(None, None, None, assignments or []), run, strategy, modules)
    settings = settings_of_train(named, run)
    if dry_run:
        print_settings(settings)
        return
    folder = new_run_folder(out, settings)
    from voxflate.training.run import train_run

    report = train_run(settings, folder, stop_at=0)
    if report is not None:
        typer.echo(f"{out}: {report.summary()}")
    print_next("train", "--out", out, "--resume")
