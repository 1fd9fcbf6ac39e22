"""Shell completion of commands and options."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import get_completion_inspect_parameters, shell_complete

from voxflate._system.errors import USER_ERROR

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "voxflate", "_VOXFLATE_COMPLETE"

# Registers the shells with Typer; without it, completion does not work.
get_completion_inspect_parameters()


def _print_script(ctx: typer.Context, shell: str | None) -> None:
    if shell is None:
        return
    if shell not in SHELLS:
        typer.echo(f"voxflate: --completion {shell}: choose one of {', '.join(SHELLS)}", err=True)
        raise typer.Exit(USER_ERROR)
    raise typer.Exit(shell_complete(ctx.command, {}, PROGRAM, VARIABLE, f"source_{shell}"))


Completion = Annotated[
    str | None,
    typer.Option(
        metavar="bash|zsh|fish",
        callback=_print_script,
        is_eager=True,
        help='Print the completion script for a shell. In bash: eval "$(voxflate --completion bash)"',
        show_default=False,
    ),
]
