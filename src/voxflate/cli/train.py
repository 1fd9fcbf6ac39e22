"""`voxflate pretrain`, `inflate` and `train`: from slices to a 3D network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate.cli.options import (
    Assignments,
    ConfigFile,
    Data,
    DryRun,
    Modules,
    Out,
    Preset,
    Resume,
    Seed,
    Strategy,
)
from voxflate.cli.settings import (
    Sources,
    new_run_folder,
    print_settings,
    settings_of_pretrain,
    settings_of_train,
    settings_to_resume,
)
from voxflate.config import RunConfig
from voxflate.errors import VoxflateError


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
    resume: Resume = False,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Train the 2D twin on axial slices: the first stage.

    Example: voxflate pretrain data/brains --out runs/2d
    """
    sources = Sources(data, preset, config, assignments or [])
    if resume:
        settings = settings_to_resume(sources, _needed(out), {"twin": twin})
    else:
        settings = settings_of_pretrain(sources, twin)
    if _run(settings, out, resume, dry_run):
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
    resume: Resume = False,
    preset: Preset = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
) -> None:
    """Train the 3D network on volumes: the second stage.

    Example: voxflate train data/brains --start runs/2d --out runs/3d
    """
    sources = Sources(data, preset, config, assignments or [])
    if resume:
        others = {"start": start, "strategy": strategy, "modules": modules}
        settings = settings_to_resume(sources, _needed(out), others)
    else:
        settings = settings_of_train(sources, start, strategy, modules)
    if _run(settings, out, resume, dry_run):
        typer.echo(f"next: voxflate generate {out} -n 20 --out new-scans")


def inflate(
    run: Annotated[Path, typer.Argument(metavar="RUN2D", help="Run folder of voxflate pretrain.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for the 3D networks and the report.")],
    strategy: Strategy = None,
    modules: Modules = None,
    seed: Seed = 0,
    dry_run: DryRun = False,
) -> None:
    """Turn a 2D run into 3D networks without training them.

    `voxflate train --start` does this by itself; use it to look at the weights and at the report, which
    names every parameter as inflated, copied or fresh.

    Example: voxflate inflate runs/2d --strategy inflate-1 --out runs/inflated
    """
    settings = settings_of_train(Sources(None, None, None, []), run, strategy, modules)
    if dry_run:
        print_settings(settings)
        return
    from voxflate.build import inflate_run

    report = inflate_run(run, settings.start.strategy, settings.start.modules, out, seed)
    typer.echo(
        f"{out}: {len(report.inflated)} parameters inflated, {len(report.copied)} copied, "
        f"{len(report.fresh)} fresh"
    )


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
    from voxflate.training.run import train_run

    train_run(settings, folder, resume)
    return True
