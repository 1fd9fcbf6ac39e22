"""`voxflate result`: the results of a run as one small file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.resume import MAY_CHANGE

if TYPE_CHECKING:
    from voxflate.reports.results import Result


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
    A file has no voxels, names or paths of the training data. It has their hash and number and the metrics
    between real volumes, with --pictures also a projection of their features. A file that exists is only
    replaced if it is the result of the same run.

    Example: voxflate result runs/3d --out results/3d.json
    """
    from voxflate.data.outside import check_outside_sets
    from voxflate.reports.results import write_result
    from voxflate.reports.run_result import result_of

    check_outside_sets(out)
    single = out.suffix == ".json"
    if single and len(runs) > 1:
        raise VoxflateError(f"--out {out}: is one file for {len(runs)} runs; give a folder")
    results: dict[Path, Result] = {}
    for run, path in _paths(runs, out, single=single).items():
        results[path] = result_of(run, pictures)
        check_replaced(results[path], path)
    for path, found in results.items():
        write_result(found, path)
        state = "" if found.finished else f", stopped after {found.n_images / 1000:g} kimg"
        typer.echo(f"written to {path}{state}")


def _paths(runs: list[Path], out: Path, *, single: bool) -> dict[Path, Path]:
    """The file of each run; a run that is given twice counts once.

    Raises:
        VoxflateError: If two runs have the same name.
    """
    found: dict[Path, Path] = {}
    for run in runs:
        path = out if single else out / f"{run.resolve().name}.json"
        same = next((other for other, taken in found.items() if taken == path), None)
        if same is None:
            found[run] = path
        elif same.resolve() != run.resolve():
            raise VoxflateError(
                f"{run}: has the same name as {same}, and both would be written to {path}; give each its own "
                "--out FILE.json"
            )
    return found


def check_replaced(result: Result, path: Path) -> None:
    """Refuse to overwrite anything but an earlier result of the same run.

    Raises:
        VoxflateError: Tells how the run of the file differs.
    """
    from voxflate.reports.results import read_result

    if not path.exists():
        return
    try:
        old = read_result(path)
    except VoxflateError as error:
        raise VoxflateError(
            f"{path}: already exists and is not a result that this version reads; give another --out, or "
            "delete it first"
        ) from error
    before, now = _identity(old), _identity(result)
    # A setting that an older file lacks was added later; of a 2D run that was moved, only the name is known.
    known = [key for key in now if None not in (before.get(key), now[key])]
    differ = [f"{key} = {before[key]!r}, not {now[key]!r}" for key in known if before[key] != now[key]]
    if old.n_images > result.n_images:
        differ.append(f"n_images = {old.n_images}, more than {result.n_images}")
    if differ:
        raise VoxflateError(
            f"{path}: is the result of another run ({differ[0]}); give another --out, or delete it first"
        )


def _identity(result: Result) -> dict[str, Any]:
    """What stays the same when a run is continued: name, data, 2D run, and most settings."""
    settings = {key: value for key, value in result.settings.items() if not key.startswith(MAY_CHANGE)}
    twin = {f"twin {key}": (result.twin or {}).get(key) for key in ("name", "seed")}
    return {"name": result.name, "data": result.data[:12], **twin, **settings}
