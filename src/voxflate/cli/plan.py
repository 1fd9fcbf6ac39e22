"""`voxflate prepare --plan`: shapes that suit the scans, with their cost; `train --plan`: the cost."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxflate.cli.printing import print_next
from voxflate.cli.progress import stage_bars

if TYPE_CHECKING:
    from voxflate.config.schema import RunConfig
    from voxflate.data.preparing.proposals import Proposal
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.sources.source import Reading, Refuse
    from voxflate.data.volume import Geometry
    from voxflate.training.planner import Machine

LONGEST_HOURS = 6
"""Longest 3D training of a recommended shape, hours."""


def print_plan(
    source: Path, recipe: str, refuse: Refuse | None, reading: Reading, options: RecipeOptions
) -> None:
    """Print the cohort's grids and a table of shapes; nothing is written.

    Raises:
        VoxflateError: As `prepare` for these scans.
    """
    from voxflate.config.toml import from_values
    from voxflate.data.preparing.prepare import cohort_grids
    from voxflate.data.preparing.proposals import propose
    from voxflate.training.planner import measure_machine

    with stage_bars() as move:
        grids = cohort_grids(
            source, recipe, refuse, reading, options, lambda done, n: move("looking at files", done / n)
        )
    proposals = propose(grids, recipe, options)
    finest = max(proposals, key=lambda one: prod(one.shape))
    # Its recommended settings cost the most: slices are shown larger there.
    config = from_values({"network.base": list(finest.base), "network.stages": finest.stages})
    machine = measure_machine(config)
    _print_grids(grids)
    _print_proposals(source, recipe, proposals, machine, config)


def print_cost(settings: RunConfig) -> None:
    """Print the predicted memory and speed of a 3D training."""
    from voxflate.training.planner import MEASURED_AT, measure_machine, predict

    machine = measure_machine(settings)
    gib, speed = predict(settings, machine)
    training = settings.training
    typer.echo(
        f"{'x'.join(map(str, settings.network.shape))}, network.channels = {settings.network.channels}, "
        f"training.batch = {training.batch}, training.micro_batch = {training.micro_batch}, "
        f"training.activation_checkpointing = {str(training.activation_checkpointing).lower()}"
    )
    typer.echo(
        f"predicted: {gib:.1f} GiB, {speed:.3g} images/s, {_hours(speed, training.kimg):.3g} hours for "
        f"{training.kimg:g} kimg without snapshots and metrics"
    )
    typer.echo(
        f"measured on {machine.device} at {MEASURED_AT} under the current load, and scaled by the number of "
        "voxels"
    )


def _print_grids(grids: list[Geometry]) -> None:
    table = Table(f"scans: {len(grids)}", "D, feet to head", "H, back to front", "W, left to right")
    rows = {
        "voxels": [grid.shape for grid in grids],
        "voxel side, mm": [grid.spacing for grid in grids],
        "field of view, mm": [grid.extent for grid in grids],
    }
    for name, values in rows.items():
        low, middle, high = np.percentile(np.array(values, float), [0, 50, 100], axis=0)
        cells = [f"{m:.4g} ({a:.4g} to {b:.4g})" for a, m, b in zip(low, middle, high, strict=True)]
        table.add_row(name, *cells)
    Console().print(table)


def _print_proposals(
    source: Path, recipe: str, proposals: list[Proposal], machine: Machine, config: RunConfig
) -> None:
    from voxflate.training.planner import MEASURED_AT, images_at_once

    batch, kimg = images_at_once(config), config.training.kimg
    table = Table(
        "", "--shape", "field of view, mm", "voxels, mm", "GiB", "images/s", "hours", padding=(0, 1, 0, 0)
    )
    best = _recommended(proposals, machine, kimg)
    for one in proposals:
        speed = machine.images_per_second(one.shape)
        table.add_row(
            ">" if one is best else "",
            Text(",".join(map(str, one.shape)), no_wrap=True),
            "x".join(f"{side:.0f}" for side in one.field_of_view),
            "x".join(f"{side:.2g}" for side in one.spacing),
            f"{machine.gib(one.shape, batch):.1f}",
            f"{speed:.3g}",
            f"{_hours(speed, kimg):.3g}",
        )
    Console().print(table)
    shape = ",".join(map(str, best.shape))
    typer.echo(
        f"recommended: --shape {shape} (base {','.join(map(str, best.base))}, {best.stages} stages), the "
        f"finest whose 3D training of {kimg:g} kimg takes at most {LONGEST_HOURS} hours here"
    )
    print_next("prepare", source, "OUT", "--recipe", recipe, "--shape", shape)
    typer.echo(
        f"GiB and images/s: batch {batch}, one channel, settings recommended for the finest shape, measured "
        f"on {machine.device} at {MEASURED_AT} under the current load, and scaled by the number of voxels. "
        f"hours: of a 3D training of {kimg:g} kimg. GiB shrinks with training.batch and "
        "training.micro_batch; voxflate train --plan predicts it for other settings."
    )


def _recommended(proposals: list[Proposal], machine: Machine, kimg: float) -> Proposal:
    """The finest shape that trains in reasonable time; the coarsest if none does."""
    quick = [one for one in proposals if _hours(machine.images_per_second(one.shape), kimg) <= LONGEST_HOURS]
    return max(quick or proposals[:1], key=lambda one: prod(one.shape))


def _hours(images_per_second: float, kimg: float) -> float:
    return kimg * 1000 / images_per_second / 3600
