"""`voxflate result`: the results of a run as one small file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from voxflate._system.errors import VoxflateError


def result(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of 2D or 3D runs.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.json|FOLDER",
            help="Output: a file for one run, or a folder, which gets RUN.json for each run.",
        ),
    ],
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Include the sample sheets at kimg 0 and at the best snapshot, and features for t-SNE.",
        ),
    ] = False,
) -> None:
    """Write the results of a run as one small JSON file.

    Settings, seed, the metrics of every snapshot and evaluation, seconds, machine, versions, hashes.
    The tables and figures of a study are made from a folder of such files; the runs are no longer needed.
    A file reveals nothing of the training data but its hash, and with --pictures a projection of its
    features.

    Example: voxflate result runs/3d --out results/3d.json
    """
    from voxflate.data.outside import check_outside_sets
    from voxflate.reports.results import result_of, write_result

    check_outside_sets(out)
    single = out.suffix == ".json"
    if single and len(runs) > 1:
        raise VoxflateError(f"--out {out}: is one file for {len(runs)} runs; give a folder")
    for run in runs:
        found = result_of(run, pictures)
        path = out if single else out / f"{found.name}.json"
        write_result(found, path)
        state = "" if found.finished else f", stopped after {found.n_images / 1000:g} kimg"
        typer.echo(f"written to {path}{state}")
