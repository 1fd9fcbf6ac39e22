"""`voxflate export`: a generator in a form that other people and programs can open."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options import RUN_HELP, DryRun, MovedData, Snapshot
from voxflate.cli.settings import print_settings

_ABOUT = "Description of the generator"


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=RUN_HELP)],
    out: Annotated[Path, typer.Option(metavar="PATH", help="Folder to write; with --to html, the file.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="folder|html|onnx|hub|monai",
            help="folder: safetensors and JSON, accepted by every voxflate command in place of a run. "
            "html: one page that runs the generator in any browser, offline. "
            "onnx: ONNX files. hub: a Hugging Face repository with a model card. monai: a MONAI bundle.",
        ),
    ] = "folder",
    snapshot: Snapshot = "newest",
    title: Annotated[str, typer.Option(metavar="TEXT", help="Title to show.", rich_help_panel=_ABOUT)] = "",
    trained_on: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Name and source of the training data.", rich_help_panel=_ABOUT),
    ] = "",
    data_licence: Annotated[
        str,
        typer.Option(metavar="NAME", help="Licence of the data, such as CC-BY-4.0.", rich_help_panel=_ABOUT),
    ] = "",
    push: Annotated[
        str,
        typer.Option(
            metavar="NAME/REPOSITORY", help="With --to hub: upload it; a new repository is private."
        ),
    ] = "",
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of its evaluation and audit. (default: RUN/evaluation)",
            show_default=False,
            rich_help_panel=_ABOUT,
        ),
    ] = None,
    data: MovedData = None,
    dry_run: DryRun = False,
) -> None:
    """Write a generator in a form that is safe to share: without scans and without paths.

    voxflate generate accepts the folder in place of a run and needs nothing else; evaluate and audit
    accept it with --data.

    Example: voxflate export runs/3d --snapshot best --to html --title Brains --out brains.html
    """
    if dry_run:
        words = {"title": title, "trained_on": trained_on, "data_licence": data_licence}
        places = {"data": data and str(data), "evaluation": evaluation and str(evaluation)}
        settings = {"run": str(run), "to": to, "out": str(out), "snapshot": snapshot, "push": push}
        print_settings({**settings, **words, **places})
        return
    if push and to != "hub":
        raise VoxflateError(f"--push {push}: only works with --to hub")
    if to == "folder":
        from voxflate.runs.export import export_generator

        loaded = export_generator(run, out, snapshot, data)
        hint = "next: voxflate generate {out} -n 20 --out new-scans"
    else:
        from voxflate.sharing.about import Words
        from voxflate.sharing.hub import check_push
        from voxflate.sharing.hub import push as push_folder
        from voxflate.sharing.targets import TARGETS, share

        if push:
            check_push()  # before exporting
        words_of_owner = Words(title, trained_on, data_licence)
        found = share(run, to, out, words_of_owner, snapshot, data, evaluation)
        loaded, hint = found.loaded, TARGETS[to].hint
        for note in found.notes:
            typer.echo(note, err=True)
    for reason in loaded.skipped:
        typer.echo(f"skipped {reason}", err=True)
    typer.echo(f"{out}: {loaded}")
    typer.echo(hint.format(out=shlex.quote(str(out))))
    if push:
        typer.echo(f"uploaded to {push_folder(out, push)}")
