"""Output shared by several commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from voxflate._system.errors import VoxflateError

if TYPE_CHECKING:
    from voxflate.data.prepared import PreparedSet
    from voxflate.data.sources.account import Account
    from voxflate.evaluation import Assessment
    from voxflate.reports.evaluations import Place
    from voxflate.runs.load import Loaded


def print_wide(table: Table, width: int = 240) -> None:
    """Print at full width: a table cut to 80 columns in a file or a pipe is useless.

    Brackets and colons are printed as they are, because they may be parts of paths.
    """
    console = Console(markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, width=width)
    console.print(table)


def number_table(words: Sequence[str], numbers: Sequence[str], title: str = "") -> Table:
    """An empty table with columns of words, aligned left, and then columns of numbers, aligned right."""
    table = Table(*words, title=title or None, title_justify="left")
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def print_next(*words: object) -> None:
    """Print the next command of the usual order, quoted for a shell."""
    typer.echo(f"next: {shlex.join(['voxflate', *map(str, words)])}")


def new_run(name: str) -> str:
    """The first of NAME, NAME-2, NAME-3, ... that does not exist, for the next command's --out."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(each for each in names if not os.path.lexists(each))


def options_given(ctx: typer.Context, but: Sequence[str] = ()) -> list[str]:
    """The words of the options on a command line, for a command that repeats them.

    Args:
        ctx: Context of the command.
        but: Names of parameters to leave out.
    """
    words: list[str] = []
    for one in ctx.command.params:
        name = one.name or ""
        source = ctx.get_parameter_source(name)
        if one.param_type_name != "option" or name in but or source is None or source.name != "COMMANDLINE":
            continue
        value = ctx.params[name]
        if isinstance(value, bool):
            words.append((one.opts if value else one.secondary_opts)[0])
        else:
            several = value if isinstance(value, list | tuple) else [value]
            words += [word for each in several for word in (one.opts[0], str(each))]
    return words


def print_generator(loaded: Loaded) -> None:
    """Print which generator is used, and which damaged snapshots were skipped."""
    print_skipped(loaded)
    typer.echo(f"using {loaded}")
    if loaded.other_data:
        print_warning(loaded.other_data)


def print_skipped(loaded: Loaded) -> None:
    """Print which damaged snapshots were skipped, and why."""
    for reason in loaded.skipped:
        typer.echo(f"skipped {reason}", err=True)


def print_warning(text: str) -> None:
    """A line on standard error."""
    typer.echo(f"warning: {text}", err=True)


def print_cautions(place: Place, *, other_data: bool = False) -> None:
    """Warn if the volumes of an evaluation may be copies of real ones."""
    from voxflate.reports.copying import cautions
    from voxflate.reports.evaluated import load_all
    from voxflate.reports.rows import grouped

    for line in cautions(grouped(load_all([place], other_data=other_data))):
        print_warning(line.removeprefix("Warning: "))


def print_report(path: Path) -> None:
    """Where a report is, and that it shows real scans."""
    typer.echo(f"report: {path} (contains real scans)")


def print_prepared(prepared: PreparedSet, refused: list[VoxflateError], account: Account) -> None:
    """Print what was prepared, what happened to every file, and what to look at."""
    from voxflate.data.preparing.quality import copies_in
    from voxflate.data.preparing.summary import summary_lines

    for error in refused:
        typer.echo(f"left out: {error}", err=True)
    scans = prepared.manifest.scans
    for group in copies_in(prepared):
        sides = " and ".join(sorted({scans[index].split for index in group}))
        advice = ": a held-out scan is also trained on; remove one" if " and " in sides else ""
        names = ", ".join(account.named(scans[index].scan) for index in group)
        typer.echo(f"copies: {names} ({sides}){advice}", err=True)
    for note in account.notes:
        typer.echo(f"note: {note}", err=True)
    for line in account.lines():
        typer.echo(line, err=True)
    train, heldout = (len(prepared.stored(split)) for split in ("train", "heldout"))
    typer.echo(f"{prepared.root}: {train} training volume{'s' * (train != 1)}, {heldout} held out")
    for line in summary_lines(prepared):
        typer.echo(line)
    typer.echo(f"check first: {prepared.root / 'report.html'}")
    print_next("pretrain", prepared.root, "--out", new_run("runs/2d"))


def print_assessment(assessment: Assessment) -> None:
    """Every metric with its interval, standard error and floor; warnings; seconds."""
    from voxflate.metrics.extractors.table import VOLUME_EXTRACTORS

    table = number_table(["metric"], ["generated", "95% interval", "standard error", "real vs real"])
    for name, metric in assessment.metrics.items():
        ends = "-" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
        rest = ("-" if value is None else f"{value:.4g}" for value in (metric.error, metric.real))
        table.add_row(name, f"{metric.value:.4g}", ends, *rest)
    print_wide(table)
    facts = assessment.facts
    networks = ", ".join(f"{each['name']} ({each['weights-sha256'][:12]})" for each in facts["extractors"])
    cut = f"truncation {facts['truncation']:g}, " if "truncation" in facts else ""
    typer.echo(
        f"{facts['n-generated']} generated against {facts['n-real']} real, {cut}seed {facts['seed']}; "
        f"features: {networks}"
    )
    for warning in assessment.warnings:
        typer.echo(f"warning: {warning}")
    networks_of_volumes = {each["name"] for each in facts["extractors"]} & VOLUME_EXTRACTORS.keys()
    if "psnr" in assessment.metrics and not networks_of_volumes:  # 2D images have no PSNR
        typer.echo(
            "note: no features of whole volumes; add --volume-extractor radiomics (or deepbet, for brains)"
        )
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in assessment.seconds.items())
    typer.echo(f"seconds: {stages}")
