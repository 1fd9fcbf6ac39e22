"""`voxflate pretrain`, `inflate` and `train`: from slices to a 3D network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options import (
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
from voxflate.cli.progress import training_bar
from voxflate.cli.resume import goes_on, settings_to_resume
from voxflate.cli.settings import (
    Sources,
    named_for_pretrain,
    named_for_train,
    new_run_folder,
    print_settings,
    settings_of_pretrain,
    settings_of_train,
)
from voxflate.config.schema import RunConfig


def pretrain(
    data: Data = None,
    out: Out = None,
    twin: Annotated[
        str | None,
        typer.Option(
            metavar="plain|planar",
            help="Kind of 2D network: plain as in the paper, or planar, which also learns where a slice lies "
            "(for train --strategy planar). (default: plain)",
            show_default=False,
        ),
    ] = None,
    resume: ResumeMode = None,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Train the 2D twin on axial slices: the first stage.

    Example: voxflate pretrain data/brains --out runs/2d
    """
    named = named_for_pretrain(Sources(data, preset, config, assignments or []), twin)
    going_on = goes_on(resume, out)
    if going_on:
        begins = {"preset": preset, "config": config, "twin": twin}
        settings = settings_to_resume(named, _needed(out), "2d", resume, begins)
    else:
        settings = settings_of_pretrain(named)
    if _run(settings, out, going_on, dry_run):
        typer.echo(f"next: voxflate train {settings.data} --start {out} --out runs/3d")


def train(
    data: Data = None,
    out: Out = None,
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN2D", help="2D run to start from; without it, from scratch.", show_default=False
        ),
    ] = None,
    strategy: Strategy = None,
    modules: Modules = None,
    resume: ResumeMode = None,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Train the 3D network on volumes: the second stage.

    Example: voxflate train data/brains --start runs/2d --out runs/3d
    """
    named = named_for_train(Sources(data, preset, config, assignments or []), start, strategy, modules)
    going_on = goes_on(resume, out)
    if going_on:
        begins = {
            "preset": preset,
            "config": config,
            "start": start,
            "strategy": strategy,
            "modules": modules,
        }
        settings = settings_to_resume(named, _needed(out), "3d", resume, begins)
    else:
        settings = settings_of_train(named, start)
    if _run(settings, out, going_on, dry_run):
        typer.echo(f"next: voxflate generate {out} -n 20 --out new-scans")


def inflate(
    run: Annotated[Path, typer.Argument(metavar="RUN2D", help="Run folder of voxflate pretrain.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the new 3D run.")],
    strategy: Strategy = None,
    modules: Modules = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Turn a 2D run into a 3D run that has not trained yet.

    `voxflate train --start` does this by itself. Use it to look at the first samples, and at inflation.json,
    which names every parameter as inflated, copied or fresh.

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
    typer.echo(f"next: voxflate train --out {out} --resume")


def _needed(out: Path | None) -> Path:
    if out is None:
        raise VoxflateError("--resume: which run? give --out RUN")
    return out


def _run(settings: RunConfig, out: Path | None, resume: bool, dry_run: bool) -> bool:
    """Print the settings, or train; true if it trained."""
    if dry_run:
        print_settings(settings)
        return False
    folder = _needed(out) if resume else new_run_folder(out, settings)
    from voxflate._system.distributed import joined_world
    from voxflate.training.run import train_run
    from voxflate.training.stop import stop_on_signals

    with (
        joined_world(settings.training.device) as world,
        training_bar(settings.training.phase) as (move, note),
        stop_on_signals(note if world.is_first else None) as stop,
    ):
        if world.is_first:
            train_run(settings, folder, resume, move, on_note=note, stop=stop, world=world)
        else:
            train_run(settings, folder, resume, stop=stop, world=world)
    return world.is_first
