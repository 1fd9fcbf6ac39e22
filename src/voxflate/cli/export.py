"""`voxflate export`: a generator in a form that other people and programs can open."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.audit import ALLOW
from voxflate.cli.options.shared import DryRun, MovedData, Run, Snapshot
from voxflate.cli.printing import print_skipped, print_warning
from voxflate.cli.settings import print_settings

if TYPE_CHECKING:
    from voxflate.sharing.about import About

_ABOUT = "Description of the generator"


def export(
    run: Run,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Folder to write; with --to html, the file.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="folder|html|onnx|hub|monai",
            help="folder: safetensors and JSON, which generate, export, invert and verify open like a run. "
            "html: one page that runs the generator in any browser, offline. "
            "onnx: ONNX files. hub: a Hugging Face repository with a model card. monai: a MONAI bundle.",
        ),
    ] = "folder",
    snapshot: Snapshot = "newest",
    title: Annotated[
        str,
        typer.Option(metavar="TEXT", help="Title to show. (default: what it makes)", rich_help_panel=_ABOUT),
    ] = "",
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
            help="Folder of its evaluation and audit. (default: the newest in RUN/evaluation)",
            show_default=False,
            rich_help_panel=_ABOUT,
        ),
    ] = None,
    data: MovedData = None,
    dry_run: DryRun = False,
) -> None:
    """Write a generator in a form to share, without scans and paths; look for copies with audit first.

    generate, export, invert and verify accept the folder in place of a run; with --data, evaluate, audit
    and utility accept it too.

    Example: voxflate export runs/3d --snapshot best --to html --title Brains --out brains.html
    """
    if dry_run:
        asked = {"run": run, "to": to, "out": out, "snapshot": snapshot, "push": push}
        words = {"title": title, "trained_on": trained_on, "data_licence": data_licence}
        print_settings({**asked, **words, "data": data, "evaluation": evaluation})
        return
    if push and to != "hub":
        raise VoxflateError(f"--push {push}: only works with --to hub; give both, or leave --push out")
    if push:
        from voxflate.sharing.hub import check_push

        check_push()  # before exporting
    from voxflate.sharing.about import Words
    from voxflate.sharing.targets import TARGETS, share

    about = share(run, to, out, Words(title, trained_on, data_licence), snapshot, data, evaluation)
    for note in about.notes:
        typer.echo(note, err=True)
    print_skipped(about.loaded)
    typer.echo(f"{out}: {about.loaded}")
    for line in about.chosen:
        typer.echo(line)
    if any(", the newest of " in line for line in about.chosen):
        typer.echo("choose another with --evaluation FOLDER")
    if warning := _copies_warning(about):
        print_warning(warning)
    typer.echo(TARGETS[to].hint.format(out=shlex.quote(str(out))))
    if push:
        from voxflate.sharing.hub import push as push_folder

        typer.echo(f"uploaded to {push_folder(out, push)}")


def _copies_warning(about: About) -> str:
    """That nobody looked for copies, or that an audit flagged more than allowed or by chance; else empty."""
    from voxflate.evaluation.chance import VERDICTS

    if about.audit is None:
        options = "--data DATA --out FOLDER" if about.source.exported else f"--snapshot {about.loaded.kimg:g}"
        return (
            "not audited: it may make copies of training scans; before you share it, look for them with "
            f"voxflate audit {shlex.quote(str(about.source.folder))} {options}"
        )
    share = len(about.audit["flagged"]) / about.audit["n-generated"]
    limit = max(ALLOW, about.audit.get("false-alarms") or 0.0)
    if about.audit.get("verdict") == "more":
        why = VERDICTS["more"]
    elif share > limit:
        why = f"and {limit:.1%} are allowed"
    else:
        return ""
    return (
        f"its audit flags {share:.1%} of the volumes as possible copies of training scans, {why}; look at "
        "the pairs before you share it"
    )
