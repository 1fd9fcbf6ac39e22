"""Code shared by the training commands."""

from __future__ import annotations

from pathlib import Path

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.printing import print_report
from voxflate.cli.progress import training_bar
from voxflate.cli.settings import (
    new_run_folder,
    print_settings,
)
from voxflate.config.schema import RunConfig


def run_to_resume(out: Path | None) -> Path:
    """The run's folder, which `--resume` requires."""
    if out is None:
        raise VoxflateError("--resume: needs the folder of the run; give --out RUN")
    return out


def run_training(settings: RunConfig, out: Path | None, resume: bool, dry_run: bool) -> bool:
    """Print the settings, or train; return whether it trained."""
    if dry_run:
        print_settings(settings)
        return False
    folder = run_to_resume(out) if resume else new_run_folder(out, settings)
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
    if world.is_first:
        _print_end(folder, settings.training.phase)
    return world.is_first


def _print_end(run: Path, phase: str) -> None:
    """Print the result of a finished run and where to see it."""
    from voxflate.reports.training import last_metrics, write_training_report

    lines = last_metrics(run)
    for line in lines:
        typer.echo(line)
    if lines and phase == "3d":
        try:
            print_report(write_training_report(run))
        except VoxflateError as error:  # training itself is complete
            typer.echo(f"no report was written: {error}", err=True)
    typer.echo(f"samples: {run / 'sheets'}")
