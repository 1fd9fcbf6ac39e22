"""The application: its commands, and the only place where errors become exit statuses."""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import USER_ERROR, TrainingStopped, VoxflateError
from voxflate._system.memory import explain_out_of_memory
from voxflate._system.version import __version__
from voxflate.cli.audit import audit
from voxflate.cli.compare import compare
from voxflate.cli.completion import Completion
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
from voxflate.cli.result import result
from voxflate.cli.resume import AUTO, ResumableCommand
from voxflate.cli.train import train
from voxflate.cli.utility import utility
from voxflate.cli.verify import verify

INTERRUPTED = 130
RESUMABLE = ("pretrain", "train")


class _Commands(TyperGroup):
    """Turns errors that the user can correct into one line on stderr and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            with explain_out_of_memory(lambda: "close other programs, or use fewer or smaller volumes"):
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
        """List the commands in the order in which they are used."""
        return list(self.commands)


def _resume_hint(command: str | None, arguments: list[str]) -> str:
    if command in ("demo", "prepare", "utility"):
        return f"interrupted; the same command continues: {shlex.join(['voxflate', *arguments])}"
    if command not in RESUMABLE:
        return "interrupted"
    return f"interrupted; continue from the last snapshot with: {_resuming(arguments)}"


def _stop_hint(stopped: TrainingStopped, arguments: list[str]) -> str:
    if stopped.n_images is None:
        command = shlex.join(["voxflate", *arguments])
        return f"stopped before the first step; the same command continues: {command}"
    return f"stopped and saved after {stopped.n_images} images; continue with: {_resuming(arguments)}"


def _resuming(arguments: list[str]) -> str:
    """The same command with `--resume`; with auto if it has options that a resumed run sets itself."""
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
    completion: Completion = None,
) -> None:
    """Generate new 3D scans from a folder of scans.

    A 2D GAN learns the slices, its weights are inflated to 3D, and the 3D GAN learns the volumes.

    With your own data: prepare, pretrain, train, generate, evaluate, audit. Without data: demo.
    """
    # Here and not in the library, because it affects the rest of the process (decision 0008).
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
    result,
    audit,
    utility,
    verify,
    export,
    invert,
    params,
    presets,
):
    app.command(cls=ResumableCommand if _command.__name__ in RESUMABLE else None)(_command)


def _interrupt(number: int, frame: object) -> NoReturn:
    """End like Ctrl-C, so that unfinished files are removed and the next step is said."""
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _interrupt)  # trainings replace it: they save first
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may have any bytes
    try:
        try:
            app()
        finally:
            _flush()
    except OSError as error:
        _give_up(error)


def _flush() -> None:
    if sys.stdout is not None:  # None if the shell closed it
        sys.stdout.flush()


def _give_up(error: OSError) -> NoReturn:
    """End with one line: our own write errors are `VoxflateError`s, so this is mostly about stdout."""
    with suppress(OSError, ValueError):  # the rest of the buffer would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:  # the reader closed the pipe
        sys.exit(1)
    reason = error.strerror or error
    if error.filename is None:
        line = f"the output cannot be written ({reason}); redirect it elsewhere"
    else:
        line = f"{error.filename}: cannot be read or written ({reason}); fix this and try again"
    with suppress(OSError):
        typer.echo(f"voxflate: {line}", err=True)
    sys.exit(USER_ERROR)
