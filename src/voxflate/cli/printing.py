"""What several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from voxflate.evaluation import Assessment
    from voxflate.runs.load import Loaded


def print_wide(table: Table, width: int = 240) -> None:
    """Print at full width: a table that is cut to 80 columns in a file or a pipe is of no use."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=width)
    console.print(table)


def print_generator(loaded: Loaded) -> None:
    """Say which generator is used, and which damaged snapshots were passed over for it."""
    for reason in loaded.skipped:
        typer.echo(f"skipped {reason}", err=True)
    typer.echo(f"using {loaded}")


def print_assessment(assessment: Assessment) -> None:
    """Every metric with its interval, standard error and floor; warnings; seconds."""
    table = Table("metric")
    for heading in ("generated", "95% interval", "standard error", "real vs real"):
        table.add_column(heading, justify="right")
    for name, metric in assessment.metrics.items():
        ends = "-" if metric.low is None or metric.high is None else f"{metric.low:.4g} to {metric.high:.4g}"
        rest = ("-" if value is None else f"{value:.4g}" for value in (metric.error, metric.real))
        table.add_row(name, f"{metric.value:.4g}", ends, *rest)
    print_wide(table)
    facts = assessment.facts
    networks = ", ".join(f"{each['name']} ({each['weights-sha256'][:12]})" for each in facts["extractors"])
    typer.echo(
        f"{facts['n-generated']} generated against {facts['n-real']} real, seed {facts['seed']}; features: "
        f"{networks}"
    )
    for warning in assessment.warnings:
        typer.echo(f"warning: {warning}")
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in assessment.seconds.items())
    typer.echo(f"seconds: {stages}")
