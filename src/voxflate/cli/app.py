"""The application: its commands, and the one place where errors become exit statuses."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate._system.version import __version__
from voxflate.cli.audit import audit
from voxflate.cli.compare import compare
from voxflate.cli.demo import demo
from voxflate.cli.evaluate import evaluate
from voxflate.cli.export import export
from voxflate.cli.generate import generate
from voxflate.cli.inflate import inflate
from voxflate.cli.invert import invert
from voxflate.cli.params import params
from voxflate.cli.prepare import prepare
from voxflate.cli.presets import presets
from voxflate.cli.pretrain import pretrain
from voxflate.cli.resume import AUTO, ResumableCommand
from voxflate.cli.train import train
from voxflate.cli.verify import verify

USER_ERROR = 2
INTERRUPTED = 130
RESUMABLE = ("pretrain", "train")


class _Commands(TyperGroup):
    """Turns what the user can mend into one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VoxflateError as error:
            typer.echo(f"voxflate: {error}", err=True)
            raise typer.Exit(USER_ERROR) from error
        except TrainingStopped as stopped:
            typer.echo(f"voxflate: {_stop_hint(stopped, sys.argv[1:])}", err=True)
            raise typer.Exit from stopped
        except KeyboardInterrupt as error:
            typer.echo(f"voxflate: {_resume_hint(ctx.invoked_subcommand, sys.argv[1:])}", err=True)
            raise typer.Exit(INTERRUPTED) from error

    def list_commands(self, ctx: Any) -> list[str]:
        """Keep the order in which the commands are used."""
        return list(self.commands)


def _resume_hint(command: str | None, arguments: list[str]) -> str:
    if command in ("demo", "prepare"):
        return f"interrupted; the same command goes on: {shlex.join(['voxflate', *arguments])}"
    if command not in RESUMABLE:
        return "interrupted"
    return f"interrupted; continue from the last snapshot with: {_resuming(arguments)}"


def _stop_hint(stopped: TrainingStopped, arguments: list[str]) -> str:
    if stopped.n_images is None:
        return (
            f"stopped before the first step; the same command goes on: {shlex.join(['voxflate', *arguments])}"
        )
    return f"stopped after {stopped.n_images} images, all saved; go on with: {_resuming(arguments)}"


def _resuming(arguments: list[str]) -> str:
    """The same command with `--resume`; auto where it names what a run goes on with by itself."""
    if any(word.startswith("--resume") for word in arguments):
        return shlex.join(["voxflate", *arguments])
    return shlex.join(["voxflate", *arguments, "--resume", AUTO])


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"voxflate {__version__}")
        raise typer.Exit


@app.callback()
def voxflate(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Make new 3D scans from a folder of scans.

    A 2D GAN learns the slices, its weights are inflated to 3D, and the 3D GAN learns the volumes.

    Your own data: prepare, pretrain, train, generate, evaluate, audit. No data at hand: demo.
    """
    # Here and not in the library, because it holds for the rest of the process (decision 0008).
    keep_freed_memory()


for _command in (
    demo,
    prepare,
    pretrain,
    inflate,
    train,
    generate,
    evaluate,
    compare,
    audit,
    verify,
    export,
    invert,
    params,
    presets,
):
    app.command(cls=ResumableCommand if _command.__name__ in RESUMABLE else None)(_command)


def main() -> None:
    """Run the command line."""
    app()
