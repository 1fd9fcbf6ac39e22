"""`voxflate compare`: evaluated runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from voxflate.cli.options import Embed, MovedData, OtherData, PaperRows
from voxflate.cli.printing import print_wide
from voxflate.config.presets import rows_of


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Evaluated runs, or folders of voxflate evaluate --out."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write report.html, table.md and table.tex there."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="newest|best|KIMG",
            help="Refuse evaluations of another snapshot. (default: take what was evaluated, and say which)",
            show_default=False,
        ),
    ] = None,
    paper: PaperRows = None,
    data: MovedData = None,
    other_data: OtherData = False,
    embed: Embed = True,
) -> None:
    """Print evaluated runs side by side in the layout of the paper's Tables 6, 7 and 8.

    Runs of a preset have their row of the paper below; it comes from other data and other features.

    Example: voxflate compare runs/baseline runs/split-shuffle --snapshot best --out comparison
    """
    from voxflate.data.prepared import check_outside_sets
    from voxflate.reports.evaluated import labels_of, write_results
    from voxflate.reports.evaluations import check_evaluated, load_evaluated, place_of
    from voxflate.reports.tables import notes, table

    wanted = rows_of(paper or [])
    if out is not None:
        check_outside_sets(out)
    places = [place_of(run) for run in runs]
    evaluated = [
        load_evaluated(place, label, other_data=other_data)
        for place, label in zip(places, labels_of(runs), strict=True)
    ]
    for place, each in zip(places, evaluated, strict=True):
        if snapshot is not None:
            check_evaluated(place, each, snapshot)
    headings, rows = table(evaluated, wanted)
    shown = Table(*headings[:1])
    for heading in headings[1:]:
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(*row)
    print_wide(shown)
    for note in notes(evaluated, wanted):
        typer.echo(note)
    if out is not None:
        report = write_results(places, out, data, embed, paper=wanted, other_data=other_data)
        typer.echo(f"written to {report.parent}")
