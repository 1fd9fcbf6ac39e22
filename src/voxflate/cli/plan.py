"""`voxflate prepare --plan`: shapes that suit the scans, with their cost; `train --plan`: the cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from voxflate._system.memory import explain_out_of_memory
from voxflate.cli.printing import print_next
from voxflate.cli.progress import stage_bars

if TYPE_CHECKING:
    from voxflate._system.parallel import Progress
    from voxflate.config.schema import RunConfig
    from voxflate.data.preparing.proposals import Proposal
    from voxflate.data.preparing.recipes import RecipeOptions
    from voxflate.data.volume import Geometry
    from voxflate.training.planner import Machine

LONGEST_HOURS = 6
"""Longest 3D run of a recommended shape, hours."""
_LAST_RESORT = "train with fewer network.channels or a smaller training.batch"


def print_plan(
    find_grids: Callable[[Progress], list[Geometry]],
    recipe: str,
    options: RecipeOptions,
    command: Sequence[object],
) -> None:
    """Print the cohort's grids and a table of shapes; nothing is written.

    Args:
        find_grids: Finds the grids of the scans; is given a function to call with its progress.
        recipe: Name of the recipe.
        options: Options of the recipe.
        command: The words of the command that prepares the scans, without the shape.

    Raises:
        VoxflateError: If `find_grids` does, or no shape suits the scans.
    """
    from voxflate.config.toml import from_values
    from voxflate.data.preparing.proposals import propose

    with stage_bars() as move:
        grids = find_grids(lambda done, total: move("looking at files", done / total))
    proposals = propose(grids, recipe, options)
    finest = max(proposals, key=lambda one: prod(one.shape))
    # Its recommended settings cost the most: slices are shown larger there.
    config = from_values({"network.base": list(finest.base), "network.stages": finest.stages})
    machine = _measured(config)
    _print_grids(grids)
    _print_proposals(proposals, machine, config, command)


def print_cost(settings: RunConfig, data: Path | None = None) -> None:
    """Print the predicted memory and speed of a 3D run, and the settings with which it fits.

    Args:
        settings: The settings of the run.
        data: The prepared folder that the command names, if any.

    Raises:
        VoxflateError: If there is no prepared set in that folder.
    """
    if data is not None:
        from voxflate.data.prepared import open_prepared

        open_prepared(data)
    from voxflate.training.memory import checkpointed_machine
    from voxflate.training.planner import MARGIN, MEASURED_AT, predict

    machine = _measured(settings)
    gib, speed = predict(settings, machine)
    training = settings.training
    typer.echo(
        f"{'x'.join(map(str, settings.network.shape))}, network.channels = {settings.network.channels}, "
        f"training.batch = {training.batch}, training.micro_batch = {training.micro_batch}, "
        f"training.activation_checkpointing = {str(training.activation_checkpointing).lower()}"
    )
    of_2d = "; the time of the 2D run is not included" if settings.start.twin else ""
    typer.echo(
        f"predicted: {gib:.1f} GiB, {speed:.3g} images/s, {_hours(speed, training.kimg):.3g} hours for "
        f"{training.kimg:g} kimg without snapshots and metrics{of_2d}"
    )
    left = f"memory left: {machine.gib_available:.1f} GiB"
    if machine.fits(gib):
        typer.echo(f"{left}, which is enough")
    else:
        typer.echo(f"{left}, of which the prediction may take {1 - MARGIN:.0%}: not enough")
        last_resort = f"{_LAST_RESORT}, or choose a smaller shape"
        for line in _advice([settings], machine, checkpointed_machine(settings), last_resort):
            typer.echo(line)
    typer.echo(
        f"measured on {machine.device} at {MEASURED_AT} under the current load, and extrapolated to other "
        "numbers of voxels"
    )


def _measured(config: RunConfig) -> Machine:
    from voxflate.training.planner import MEASURED_AT, measure_machine

    with explain_out_of_memory(
        lambda: f"even the plan's own measurement, at {MEASURED_AT}, does not fit; {_LAST_RESORT}"
    ):
        return measure_machine(config)


def _advice(
    configs: Sequence[RunConfig], machine: Machine, checkpointed: Machine | None, last_resort: str
) -> Iterator[str]:
    """The settings with which runs fit that do not fit as they are, and a line on those that never fit.

    Args:
        configs: Settings that differ only in the shape.
        machine: Measured with them.
        checkpointed: Measured with them and activation checkpointing; None if that cannot be changed.
        last_resort: What to do about those that never fit.
    """
    from voxflate.config.toml import with_values
    from voxflate.training.planner import micro_batches, predict, settings_that_fit

    never = []
    for config in configs:
        changes = settings_that_fit(config, machine, checkpointed)
        if not changes:
            never.append("x".join(map(str, config.network.shape)))
            continue
        recomputed = checkpointed if "training.activation_checkpointing" in changes else None
        gib, _ = predict(with_values(config, changes), recomputed or machine)
        words = " ".join(f"--set {key}={str(value).lower()}" for key, value in changes.items())
        shape = ",".join(map(str, config.network.shape))
        yield f"{shape} fits if trained with {words}: {gib:.1f} GiB"
    if never:
        tried = [f"training.micro_batch = {size}" for size in micro_batches(configs[0])[-1:]]
        tried += ["training.activation_checkpointing = true"] * (checkpointed is not None)
        even = f", even with {' and '.join(tried)}" if tried else ""
        all_but_last = [", ".join(never[:-1])] if never[1:] else []
        shapes, verb = " and ".join([*all_but_last, never[-1]]), "do" if never[1:] else "does"
        yield f"{shapes} {verb} not fit{even}; {last_resort}"


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
    proposals: list[Proposal], machine: Machine, config: RunConfig, command: Sequence[object]
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
        configs = [_sized(config, one) for one in large]
        for line in _advice(configs, machine, checkpointed_machine(config), _LAST_RESORT):
            typer.echo(line)
    if best is None:
        typer.echo(f"recommended: none, because no shape fits into {machine.gib_available:.1f} GiB")
    else:
        _print_recommended(best, machine, kimg, command)
    typer.echo(
        f"GiB and images/s: batch {batch}, one channel, settings recommended for the finest shape, measured "
        f"on {machine.device} at {MEASURED_AT} under the current load, and extrapolated to other numbers of "
        "voxels. "
        f"fits: {machine.gib_available:.1f} GiB are left, of which the prediction may take "
        f"{1 - MARGIN:.0%}. hours: of a 3D run of {kimg:g} kimg; the time of the 2D run is not included. "
        "voxflate train --plan predicts all of it for other settings."
    )


def _print_recommended(best: Proposal, machine: Machine, kimg: float, command: Sequence[object]) -> None:
    shape = ",".join(map(str, best.shape))
    quick = _hours(machine.images_per_second(best.shape), kimg) <= LONGEST_HOURS
    why = f"the coarsest, because a 3D run of {kimg:g} kimg takes more than {LONGEST_HOURS} hours here"
    if quick:
        why = f"the finest that fits and whose 3D run of {kimg:g} kimg takes at most {LONGEST_HOURS} hours"
    typer.echo(
        f"recommended: --shape {shape} (base {','.join(map(str, best.base))}, {best.stages} stages), {why}"
    )
    print_next(*command, "--shape", shape)


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
