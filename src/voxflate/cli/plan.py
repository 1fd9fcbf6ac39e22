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
"""Longest 3D run of a recommended shape, hours."""


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
    """Print the predicted memory and speed of a 3D run, and the settings with which it fits."""
    from voxflate.training.memory import checkpointed_machine
    from voxflate.training.planner import MARGIN, MEASURED_AT, measure_machine, predict

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
    left = f"memory left: {machine.gib_available:.1f} GiB"
    if machine.fits(gib):
        typer.echo(f"{left}, which is enough")
    else:
        typer.echo(f"{left}, which is not enough, as predictions can be {MARGIN:.0%} too low")
        typer.echo(_advice(settings, machine, checkpointed_machine(settings)))
    typer.echo(
        f"measured on {machine.device} at {MEASURED_AT} under the current load, and scaled by the number of "
        "voxels"
    )


def _advice(config: RunConfig, machine: Machine, checkpointed: Machine | None) -> str:
    """The settings with which a run fits into memory that does not fit as it is."""
    from voxflate.config.toml import with_values
    from voxflate.training.planner import micro_batches, predict, settings_that_fit

    shape = ",".join(map(str, config.network.shape))
    if changes := settings_that_fit(config, machine, checkpointed):
        recomputed = checkpointed if "training.activation_checkpointing" in changes else None
        gib, _ = predict(with_values(config, changes), recomputed or machine)
        words = " ".join(f"--set {key}={str(value).lower()}" for key, value in changes.items())
        return f"{shape} fits if trained with {words}: {gib:.1f} GiB"
    tried = ["training.micro_batch"] * bool(micro_batches(config))
    tried += ["training.activation_checkpointing"] * (checkpointed is not None)
    without = f" with any {' or '.join(tried)}" if tried else ""
    return f"{shape} does not fit{without}; choose a smaller shape, network.channels or training.batch"


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
    from voxflate.training.memory import checkpointed_machine
    from voxflate.training.planner import MARGIN, MEASURED_AT, images_at_once

    batch, kimg = images_at_once(config), config.training.kimg
    heads = ("", "--shape", "field of view, mm", "voxels, mm", "GiB", "fits", "images/s", "hours")
    table = Table(*heads, padding=(0, 1, 0, 0))
    fitting = [one for one in proposals if machine.fits(machine.gib(one.shape, batch))]
    best = _recommended(fitting, machine, kimg)
    for one in proposals:
        speed = machine.images_per_second(one.shape)
        table.add_row(
            ">" if one is best else "",
            Text(",".join(map(str, one.shape)), no_wrap=True),
            "x".join(f"{side:.0f}" for side in one.field_of_view),
            "x".join(f"{side:.2g}" for side in one.spacing),
            f"{machine.gib(one.shape, batch):.1f}",
            "yes" if one in fitting else "no",
            f"{speed:.3g}",
            f"{_hours(speed, kimg):.3g}",
        )
    Console().print(table)
    if large := [one for one in proposals if one not in fitting]:
        checkpointed = checkpointed_machine(config)
        for one in large:
            typer.echo(_advice(_sized(config, one), machine, checkpointed))
    if best is None:
        typer.echo(f"recommended: none, because no shape fits into {machine.gib_available:.1f} GiB")
    else:
        _print_recommended(source, recipe, best, machine, kimg)
    typer.echo(
        f"GiB and images/s: batch {batch}, one channel, settings recommended for the finest shape, measured "
        f"on {machine.device} at {MEASURED_AT} under the current load, and scaled by the number of voxels. "
        f"fits: {machine.gib_available:.1f} GiB are left, of which the prediction may take "
        f"{1 - MARGIN:.0%}. hours: of a 3D run of {kimg:g} kimg. voxflate train --plan predicts all of "
        "it for other settings."
    )


def _print_recommended(source: Path, recipe: str, best: Proposal, machine: Machine, kimg: float) -> None:
    shape = ",".join(map(str, best.shape))
    quick = _hours(machine.images_per_second(best.shape), kimg) <= LONGEST_HOURS
    why = f"the coarsest, because a 3D run of {kimg:g} kimg takes more than {LONGEST_HOURS} hours here"
    if quick:
        why = f"the finest that fits and whose 3D run of {kimg:g} kimg takes at most {LONGEST_HOURS} hours"
    typer.echo(
        f"recommended: --shape {shape} (base {','.join(map(str, best.base))}, {best.stages} stages), {why}"
    )
    print_next("prepare", source, "OUT", "--recipe", recipe, "--shape", shape)


def _sized(config: RunConfig, proposal: Proposal) -> RunConfig:
    """The settings at a proposed shape."""
    from voxflate.config.toml import with_values

    return with_values(config, {"network.base": list(proposal.base), "network.stages": proposal.stages})


def _recommended(fitting: list[Proposal], machine: Machine, kimg: float) -> Proposal | None:
    """The finest shape that trains in reasonable time; the coarsest if none does, None without shapes."""
    quick = [one for one in fitting if _hours(machine.images_per_second(one.shape), kimg) <= LONGEST_HOURS]
    return max(quick or fitting[:1], key=lambda one: prod(one.shape), default=None)


def _hours(images_per_second: float, kimg: float) -> float:
    return kimg * 1000 / images_per_second / 3600
