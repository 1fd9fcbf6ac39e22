"""`voxflate evaluate` for folders of volumes from another method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options.evaluate import SuiteOptions
from voxflate.cli.parsing import pair_of
from voxflate.cli.printing import print_assessment
from voxflate.cli.progress import progress_bar

if TYPE_CHECKING:
    from voxflate.evaluation.foreign import VolumeFolder

DEFAULT_EXTRACTOR = "mobilenetv2"
_SETTINGS = ("evaluation.samples", "evaluation.extractor")


def is_volume_folder(folder: Path) -> bool:
    """Tell whether a folder has NIfTI volumes and is neither a run nor an export."""
    from voxflate.config.toml import CONFIG_NAME
    from voxflate.evaluation.foreign import nifti_files
    from voxflate.runs.exported import is_exported

    return not (folder / CONFIG_NAME).is_file() and not is_exported(folder) and bool(nifti_files(folder))


def evaluate_folder(
    folders: Sequence[Path],
    data: Path | None,
    out: Path | None,
    values: Mapping[str, Any],
    value_range: str | None,
    options: SuiteOptions,
    batch: int,
    embed: bool,
    dry_run: bool,
) -> None:
    """Measure one folder of volumes and print the metrics; arguments as in the command.

    Raises:
        VoxflateError: If there is more than one folder, --data or --out is missing, or the volumes cannot be
            measured.
    """
    if len(folders) > 1:
        raise VoxflateError(
            f"{folders[0]}: is a folder of volumes, and only one can be measured at a time; give it alone"
        )
    if data is None or out is None:
        missing = [name for name, value in (("--data", data), ("--out", out)) if value is None]
        raise VoxflateError(
            f"{folders[0]}: is a folder of volumes, which needs {' and '.join(missing)}; give --data FOLDER "
            "(the prepared real volumes) and --out FOLDER (for the results)"
        )
    volumes = _open(folders[0], data, out, values, value_range)
    typer.echo(_described(volumes))
    if dry_run:
        return
    from voxflate.reports.evaluated import report_evaluations
    from voxflate.reports.evaluations import Place
    from voxflate.reports.measure import evaluate_volumes

    place = Place(out, None)
    chosen = options.resolved(str(values.get("evaluation.extractor", DEFAULT_EXTRACTOR)))
    with progress_bar(f"measuring {volumes.folder.name}") as progress:
        assessment = evaluate_volumes(volumes, place, chosen, batch, progress)
    print_assessment(assessment)
    typer.echo(f"report: {report_evaluations([place], out, data, embed)}")
    typer.echo(f"written to {out}")


def _open(
    folder: Path, data: Path, out: Path, values: Mapping[str, Any], value_range: str | None
) -> VolumeFolder:
    """Check everything but the voxels."""
    from voxflate.config.toml import from_values
    from voxflate.data.prepared import open_prepared
    from voxflate.evaluation.foreign import open_volumes
    from voxflate.reports.evaluations import METRICS
    from voxflate.reports.measure import check_folder

    if wrong := [key for key in values if key not in _SETTINGS]:
        raise VoxflateError(f"--set {wrong[0]}: does not apply to a folder of volumes; leave it out")
    check_folder(out, METRICS)
    samples = from_values(values, "--set").evaluation.samples
    ends = None if value_range is None else pair_of("--range", value_range, "0,1")
    return open_volumes(folder, open_prepared(data), samples or None, ends)


def _described(volumes: VolumeFolder) -> str:
    """One line about how the values are read."""
    low, high = volumes.value_range
    return (
        f"{volumes.folder}: {len(volumes.paths)} volumes; {low:g} and {high:g} are read as the darkest and "
        "the brightest value"
    )
