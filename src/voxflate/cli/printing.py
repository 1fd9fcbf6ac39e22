"""What several commands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
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


def print_warning(text: str) -> None:
    """A line on standard error."""
    typer.echo(f"warning: {text}", err=True)
