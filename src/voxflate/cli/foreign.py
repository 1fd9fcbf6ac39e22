"""`voxflate evaluate` and `voxflate audit` for folders of volumes from another method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from voxflate._system.errors import VoxflateError
from voxflate.cli.options.evaluate import FolderOptions, SuiteOptions
from voxflate.cli.parsing import pair_of
from voxflate.cli.printing import print_assessment, print_cautions, print_report, print_warning
from voxflate.cli.progress import progress_bar

if TYPE_CHECKING:
    from voxflate.evaluation import Audit
    from voxflate.evaluation.foreign import VolumeFolder
    from voxflate.reports.evaluations import Place

DEFAULT_EXTRACTOR = "mobilenetv2"
_SETTINGS = ("evaluation.samples", "evaluation.extractor")


def is_volume_folder(folder: Path) -> bool:
    """Tell whether a folder has volumes and is neither a run nor an export."""
    from voxflate.config.toml import CONFIG_NAME
    from voxflate.evaluation.foreign import volume_files
    from voxflate.runs.exported import is_exported

    return not (folder / CONFIG_NAME).is_file() and not is_exported(folder) and bool(volume_files(folder))


def evaluate_folder(
    folders: Sequence[Path],
    data: Path | None,
    out: Path | None,
    values: Mapping[str, Any],
    reading: FolderOptions,
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
    from voxflate.reports.evaluations import METRICS, Place

    volumes, out = _open(folders[0], data, out, values, reading, METRICS)
    typer.echo(_described(volumes))
    if dry_run:
        return
    from voxflate.reports.evaluated import report_evaluations
    from voxflate.reports.measure import evaluate_volumes

    place = Place(out, None)
    chosen = options.resolved(str(values.get("evaluation.extractor", DEFAULT_EXTRACTOR)))
    with progress_bar(f"measuring {volumes.folder.name}") as progress:
        assessment = evaluate_volumes(volumes, place, chosen, batch, progress)
    print_assessment(assessment)
    report = report_evaluations([place], out, data, embed)
    print_cautions(place)
    print_report(report)
    typer.echo(f"written to {out}")


def audit_folder(
    folder: Path,
    data: Path | None,
    out: Path | None,
    values: Mapping[str, Any],
    reading: FolderOptions,
    seed: int,
    batch: int,
    dry_run: bool,
) -> tuple[Audit, Place, list[str]] | None:
    """Look for copies in a folder of volumes; arguments as in the command.

    Returns:
        The audit, where it is written, and the files' names; None after a dry run.

    Raises:
        VoxflateError: If --data or --out is missing, or the volumes cannot be audited.
    """
    from voxflate.reports.evaluations import AUDIT, Place

    volumes, out = _open(folder, data, out, values, reading, AUDIT)
    typer.echo(_described(volumes))
    if dry_run:
        return None
    from voxflate.reports.audited import audit_volumes

    place = Place(out, None)
    network = str(values.get("evaluation.extractor", DEFAULT_EXTRACTOR))
    with progress_bar("measuring real volumes") as null, progress_bar("auditing") as progress:
        found = audit_volumes(volumes, place, network, seed, batch, progress, null)
    for warning in volumes.warnings:
        print_warning(warning)
    return found, place, [path.name for path in volumes.paths]


def refuse_options_of_runs(
    snapshot: str, truncation: float, other_data: bool, device: str | None = None
) -> None:
    """Refuse options that have no meaning for a folder of volumes.

    Raises:
        VoxflateError: Names the option.
    """
    given = {
        "--snapshot": snapshot != "newest",
        "--truncation": truncation != 1.0,
        "--other-data": other_data,
        "--device": device is not None,
    }
    for option, is_given in given.items():
        if is_given:
            raise VoxflateError(f"{option}: does not apply to a folder of volumes; leave it out")


def refuse_other_training(values: Mapping[str, Any]) -> None:
    """Refuse settings that a generator was trained with: its files would name others as its own.

    Raises:
        VoxflateError: Names the setting.
    """
    from voxflate.config.identity import of_the_row

    if wrong := [key for key in values if of_the_row(key)]:
        raise VoxflateError(
            f"--set {wrong[0]}: cannot be changed after the training; leave it out, or set evaluation.*"
        )


def _open(
    folder: Path,
    data: Path | None,
    out: Path | None,
    values: Mapping[str, Any],
    reading: FolderOptions,
    name: str,
) -> tuple[VolumeFolder, Path]:
    """Check everything but the voxels; `name` is that of the file to write."""
    from voxflate.config.toml import from_values
    from voxflate.data.prepared import open_prepared
    from voxflate.evaluation.foreign import open_volumes
    from voxflate.reports.places import check_folder

    if data is None or out is None:
        missing = [name for name, value in (("--data", data), ("--out", out)) if value is None]
        raise VoxflateError(
            f"{folder}: is a folder of volumes, which needs {' and '.join(missing)}; give --data FOLDER "
            "(the prepared real volumes) and --out FOLDER (for the results)"
        )
    if wrong := [key for key in values if key not in _SETTINGS]:
        raise VoxflateError(f"--set {wrong[0]}: does not apply to a folder of volumes; leave it out")
    check_folder(out, name)
    samples = from_values(values, "--set").evaluation.samples
    ends = None if reading.value_range is None else pair_of("--range", reading.value_range, "0,1")
    prepared = open_prepared(data)
    return open_volumes(folder, prepared, samples or None, ends, prepare=reading.prepare), out


def _described(volumes: VolumeFolder) -> str:
    """One line about how the values are read."""
    left_out = f" ({volumes.left_out})" if volumes.left_out else ""
    count = f"{volumes.folder}: {len(volumes.paths)} volumes{left_out}"
    if volumes.value_range is None:
        return f"{count}, prepared like those of {volumes.prepared.root}"
    low, high = volumes.value_range
    return f"{count}; {low:g} and {high:g} are read as the darkest and the brightest value"
