"""`voxflate train`: trains the 3D network on volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options.shared import (
    SETTINGS,
    Assignments,
    ConfigFile,
    Data,
    DryRun,
    Modules,
    Out,
    Preset,
    ResumeMode,
    Strategy,
)
from voxflate.cli.printing import print_next
from voxflate.cli.resume import continues_run, settings_to_resume
from voxflate.cli.settings import (
    Sources,
    named_for_train,
    settings_of_train,
)
from voxflate.cli.training import run_to_resume, run_training


def train(
    data: Data = None,
    out: Out = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN2D", help="2D run to start from. (default: train from scratch)", show_default=False
        ),
    ] = None,
    strategy: Strategy = None,
    modules: Modules = None,
    resume: ResumeMode = None,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Predict memory and speed with these settings from a short measurement, and stop.",
            rich_help_panel=SETTINGS,
        ),
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Train the 3D network on volumes: the second stage.

    Example: voxflate train data/brains --start runs/2d --out runs/3d
    """
    named = named_for_train(Sources(data, preset, config, assignments or []), start, strategy, modules)
    continued = continues_run(resume, out)
    if continued:
        begins = {
            "preset": preset,
            "config": config,
            "start": start,
            "strategy": strategy,
            "modules": modules,
        }
        settings = settings_to_resume(named, run_to_resume(out), "3d", resume, begins)
    else:
        settings = settings_of_train(named, start)
    if plan:
        from voxflate.cli.plan import print_cost

        print_cost(settings, data)
        return
    if run_training(settings, out, continued, dry_run):
        print_next("generate", out, "-n", 20, "--out", "new-scans")
