"""`voxflate utility`: does training on generated volumes help?"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxflate.cli.options.shared import (
    Batch,
    Device,
    DryRun,
    EvaluationOut,
    MovedData,
    OtherData,
    RunWithScans,
    Seed,
    Snapshot,
    Truncation,
)
from voxflate.cli.printing import number_table, print_generator, print_report, print_wide
from voxflate.cli.progress import progress_bar
from voxflate.cli.settings import print_settings

if TYPE_CHECKING:
    from voxflate.reports.measure import Sampling
    from voxflate.reports.utility import Plan
    from voxflate.runs.load import Source


def utility(
    run: RunWithScans,
    real: Annotated[
        str,
        typer.Option(
            metavar="N,N,...,all",
            help="Numbers of real training subjects for a curve, such as 10,25,50,all.",
        ),
    ] = "all",
    generated: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of generated training volumes. (default: as many as real training volumes)",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="mask|LABEL",
            help="Target to learn: the masks, or a label such as age; repeatable. (default: the masks, or "
            "without masks every label)",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of networks per setting.")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Training steps of each network, the same for all.")
    ] = 400,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment", help="Rotate, scale and shift volumes slightly, for all networks."
        ),
    ] = True,
    out: EvaluationOut = None,
    snapshot: Snapshot = "newest",
    seed: Seed = 0,
    truncation: Truncation = 1.0,
    batch: Batch = 8,
    data: MovedData = None,
    other_data: OtherData = False,
    device: Device = None,
    dry_run: DryRun = False,
) -> None:
    """Test whether generated volumes help: train small networks on real, generated and both.

    They are measured on held-out real subjects.

    Masks: a MONAI U-Net, Dice and HD95. Labels: a small classifier or regressor, balanced accuracy or mean
    absolute error. Writes to RUN/evaluation: utility.json, utility.png, and a part of the report. After an
    interruption, the same command continues; --dry-run prints how long it takes.

    Example: voxflate utility runs/pairs --real 10,25,all --seeds 3
    """
    from voxflate.reports.evaluations import METRICS, UTILITY
    from voxflate.reports.measure import Sampling
    from voxflate.reports.places import place_for, reserved
    from voxflate.reports.utility import Asked, plan_of, utility_source
    from voxflate.reports.utility_shown import CHART
    from voxflate.runs.load import open_source

    source = open_source(run, data, device, scans=True, other_data=other_data)
    source.check(snapshot)
    place = place_for(source, out, snapshot, UTILITY)
    plan = plan_of(source, Asked(real, generated, seeds, steps, augment, task or ()))
    sampling = Sampling(snapshot, seed, truncation, batch)
    if dry_run:
        _print_plan(source, plan, place.folder, sampling)
        return
    with reserved(place, UTILITY) as place:
        with progress_bar("generating") as generating, progress_bar("training") as training:
            found = utility_source(source, place, plan, sampling, print_generator, generating, training)
        _print_tables(found)
        typer.echo(f"written to {place.folder / UTILITY}, chart: {place.folder / CHART}")
        if (place.folder / METRICS).is_file():
            from voxflate.reports.evaluated import report_evaluations

            print_report(report_evaluations([place], place.folder, data, other_data=other_data))


def _print_plan(source: Source, plan: Plan, folder: Path, sampling: Sampling) -> None:
    """The resolved settings as TOML, with a comment on how long it takes here."""
    from voxflate.reports.utility import estimated_seconds

    design = plan.design
    print_settings(
        {
            "run": source.folder,
            "out": folder,
            "data": source.settings.data,
            "tasks": [task.name for task in plan.tasks],
            "real": list(design.real),
            "generated": design.generated,
            "seeds": design.seeds,
            "steps": design.steps,
            "batch": design.batch,
            "augment": design.augment,
            "snapshot": sampling.snapshot,
            "seed": sampling.seed,
            "truncation": sampling.truncation,
            "device": source.settings.training.device,
        }
    )
    duration = timedelta(seconds=round(estimated_seconds(source, plan)))
    typer.echo(
        f"# {plan.networks} networks of {design.steps} steps: about {duration} on this machine, and the time "
        f"for {design.generated} samples"
    )


def _print_tables(found: dict[str, Any]) -> None:
    from voxflate.reports.utility_shown import tables_of

    for table in tables_of(found):
        drawn = number_table(table.headings[:1], table.headings[1:], table.caption)
        drawn.show_lines = True
        for row in table.rows:
            drawn.add_row(*row)
        print_wide(drawn)
        for note in table.notes:
            typer.echo(note)
