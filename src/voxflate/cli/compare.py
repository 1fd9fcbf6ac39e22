"""`voxflate compare`: evaluated runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options.shared import Embed, MovedData, OtherData, PaperRows
from voxflate.cli.printing import number_table, print_report, print_wide
from voxflate.config.presets import rows_of

if TYPE_CHECKING:
    from voxflate.config.paper_rows import PaperRow
    from voxflate.reports.evaluations import Place
    from voxflate.reports.rows import Row


def compare(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN...",
            help="Evaluated runs, or folders of single evaluations. Seeds of equal settings become one row.",
            show_default=False,
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            metavar="NAME=RUN,RUN",
            help="Put these runs into one row with this name, even if their settings differ; repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for report.html, table.md and table.tex."),
    ] = None,
    snapshot: Annotated[
        str | None,
        typer.Option(
            metavar="newest|best|KIMG",
            help="Use evaluations of this snapshot. (default: the newest evaluation of each run)",
            show_default=False,
        ),
    ] = None,
    paper: PaperRows = None,
    data: MovedData = None,
    other_data: OtherData = False,
    embed: Embed = True,
) -> None:
    """Print evaluated runs side by side in the layout of the paper's Tables 6, 7 and 8.

    Several seeds of one setting are one row: mean and standard deviation. Rows whose metrics are not
    comparable (other data, numbers of volumes, snapshots or feature networks) get separate tables. A winner
    is named only if it differs significantly from every other row, by a paired test over seeds or by the
    intervals of single runs. The row of the paper for a run's preset is printed below it; it comes from other
    data and other features.

    Example: voxflate compare runs/baseline-* runs/split-shuffle-* --snapshot best --out comparison
    """
    from voxflate.reports.evaluated import load_all, report_evaluations
    from voxflate.reports.evaluations import check_evaluated, place_of
    from voxflate.reports.places import REPORT, check_folder
    from voxflate.reports.rows import grouped

    wanted = rows_of(paper or [])
    check_folder(out, REPORT)
    named = _parsed(groups or [])
    paths = [*(runs or []), *(path for part in named.values() for path in part)]
    if not paths:
        raise VoxflateError("nothing to compare: name evaluated runs, or rows with --group NAME=RUN,RUN")
    places: list[Place] = [place_of(path, snapshot) for path in paths]
    _refuse_repeats(paths, places)
    evaluated = load_all(places, other_data=other_data)
    if snapshot is not None:
        for place, each in zip(places, evaluated, strict=True):
            check_evaluated(place, each, snapshot)
    single, rest = evaluated[: len(runs or [])], iter(evaluated[len(runs or []) :])
    rows = grouped(single, {name: [next(rest) for _ in part] for name, part in named.items()})
    _print_tables(rows, wanted)
    if out is not None:
        report = report_evaluations(places, out, data, embed, paper=wanted, rows=rows, other_data=other_data)
        print_report(report)
        typer.echo(f"written to {report.parent}")


def _parsed(groups: Sequence[str]) -> dict[str, list[Path]]:
    """Name -> runs of the --group texts."""
    found: dict[str, list[Path]] = {}
    for text in groups:
        name, _, paths = text.partition("=")
        if not name or not paths or name in found:
            raise VoxflateError(f"--group {text}: expected NAME=RUN,RUN, each name once")
        found[name] = [Path(path) for path in paths.split(",")]
    return found


def _refuse_repeats(paths: Sequence[Path], places: Sequence[Place]) -> None:
    """Refuse an evaluation that is named twice, such as once alone and once in a group."""
    seen: dict[Path, Path] = {}
    for path, place in zip(paths, places, strict=True):
        if (first := seen.setdefault(place.folder.resolve(), path)) is not path:
            again = "" if first == path else f", as {first} and as {path}"
            raise VoxflateError(f"{path}: is given twice{again}; name it once, alone or in one --group")


def _print_tables(rows: Sequence[Row], wanted: Sequence[PaperRow]) -> None:
    """Print both parts of each table of comparable rows, its notes, why there are several, and what to do."""
    from voxflate.reports.next_step import how_to_compare
    from voxflate.reports.notes import notes, why_separate
    from voxflate.reports.rows import separated
    from voxflate.reports.tables import beside, table

    tables = separated(rows)
    for number, comparable in enumerate(tables, start=1):
        if len(tables) > 1:
            typer.echo(f"Table {number}")
        for headings, lines in (table(comparable, wanted), beside(comparable)):
            shown = number_table(headings[:1], headings[1:])
            for line in lines:
                shown.add_row(*line)
            print_wide(shown)
        for note in notes(comparable, wanted, explained=number == len(tables)):
            typer.echo(note)
    for note in (*why_separate(tables), *how_to_compare(tables)):
        typer.echo(note)
