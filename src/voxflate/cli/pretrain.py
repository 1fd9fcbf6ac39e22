"""`voxflate pretrain`: trains the 2D twin on slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from voxflate.cli.options.shared import (
    Assignments,
    ConfigFile,
    Data,
    DryRun,
    Out,
    Preset,
    ResumeMode,
)
from voxflate.cli.printing import new_run, print_next
from voxflate.cli.resume import continues_run, settings_to_resume
from voxflate.cli.settings import (
    Sources,
    named_for_pretrain,
    settings_of_pretrain,
)
from voxflate.cli.training import run_to_resume, run_training
from voxflate.config.schema import RunConfig


def pretrain(
    data: Data = None,
    out: Out = None,
    twin: Annotated[
        str | None,
        typer.Option(
            metavar="plain|planar",
            help="Kind of 2D network: plain as in the paper, or planar, which also learns the position of "
            "a slice (for train --strategy planar). (default: plain)",
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
    continued = continues_run(resume, out)
    if continued:
        begins = {"preset": preset, "config": config, "twin": twin}
        settings = settings_to_resume(named, run_to_resume(out), "2d", resume, begins)
    else:
        settings = settings_of_pretrain(named)
    if run_training(settings, out, continued, dry_run):
        kept = _kept(settings, assignments or [])
        print_next("train", settings.data, "--start", out, *kept, "--out", new_run("runs/3d"))


def _kept(settings: RunConfig, assignments: Sequence[str]) -> list[str]:
    """Options to repeat for the 3D run: a preset sets its networks, regardless of the 2D run."""
    if not settings.preset:
        return []
    changes = [one for one in assignments if one.strip().startswith("network.")]
    return ["--preset", settings.preset, *(word for one in changes for word in ("--set", one))]
