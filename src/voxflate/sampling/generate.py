"""Generates volumes with a trained run and writes them to disk."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, whole_folder, write_json
from voxflate._system.memory import explain_out_of_memory
from voxflate._system.version import __version__
from voxflate.data.channels import LabelValue
from voxflate.data.outside import check_outside_sets
from voxflate.data.writers.synthetic import Look, check_air
from voxflate.gans.samples import sample
from voxflate.runs.chosen import Snapshot
from voxflate.runs.load import Loaded, Source, check_volumes, open_source
from voxflate.sampling.asked import check_numbers, draw_labels, encoded, memory_advice
from voxflate.sampling.files import FLAT, FORMATS, check_format, format_notes


def generate(
    run: Path,
    n: int,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    out: Path,
    batch: int = 8,
    snapshot: Snapshot = "newest",
    data: Path | None = None,
    device: str | None = None,
    file_format: str = "nifti",
    layout: str = FLAT,
    air: float | None = None,
    other_data: bool = False,
    labels: Mapping[str, LabelValue] | None = None,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[Loaded], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Path]:
    """Generate volumes and write them in the prepared set's geometry and intensities.

    Volume k of a seed is the same for any `n`, on one machine bit for bit. Another `batch` changes only the
    rounding. Several modalities are written to separate files, and so is the mask; the labels of
    all volumes are in `labels.csv`, or in participants.tsv if the layout has that.

    Args:
        run: Folder of a 3D run, or of a generator that `voxflate export` wrote.
        n: Number of volumes.
        seed: Seed of the series.
        truncation: From 1 (full variety) to 0 (the average volume).
        out: Folder to write to; must be missing or empty. It appears once all volumes are written.
        batch: Volumes at a time.
        snapshot: "newest", "best" (lowest kernel distance to the held-out volumes), or a number of kimg.
        data: Folder of the run's prepared set; None to use the one named in the run.
        device: Device, as `training.device`; None for the run's own setting.
        file_format: A name in `files.FORMATS`.
        layout: NIfTI: layout of the folder, a name in `layouts.LAYOUTS`.
        air: CT: value in HU for voxels at the lower end of the window; None leaves them unchanged.
        other_data: Accept a prepared set that the run was not trained on; all files then say so.
        labels: Values by name, the same for all volumes; other labels are drawn jointly as in the training
            set.
        progress: Called with (done, n).
        tell: Called with the generator once it is loaded.
        warn: Called with a message about a number outside the training set's range, or about the modality in
            DICOM; by default warns.

    Returns:
        The files, or folders of DICOM series, in order; with several modalities those of the first.

    Raises:
        VoxflateError: If the run is 2D or has no such snapshot, `out` is not empty, a label is
            unknown, a number is out of range, or a voxel is NaN. `out` is then unchanged.
    """
    check_numbers(n, seed, truncation, batch)
    source = check_generation(run, out, data, device, file_format, layout, snapshot, air, other_data)
    prepared = source.prepared
    given, drawn, lines = draw_labels(source.labels, labels, seed, 0, n)
    for line in [*lines, *format_notes(file_format, source)]:
        (warn or warnings.warn)(line)
    loaded = source.load(snapshot)
    if tell is not None:
        tell(loaded)
    look = Look(air, bool(source.other_data))
    told = encoded(source.labels, drawn)
    with explain_out_of_memory(partial(memory_advice, prepared, batch)), whole_folder(out) as folder:
        writer = FORMATS[file_format](folder, prepared, layout, look, max(4, len(str(n - 1))))
        batches = sample(
            loaded.network, n, seed=seed, truncation_psi=truncation, batch=batch, full=True, labels=told
        )
        for number, volume in enumerate(volume for volumes in batches for volume in volumes.numpy()):
            if np.isnan(volume).any():
                raise VoxflateError(
                    f"{run}: sample {number} has {np.isnan(volume).sum():,} NaN voxels: training has "
                    "diverged; choose an earlier --snapshot"
                )
            writer.add(volume, drawn[number] if drawn else None)
            if number == 0:
                _check_space(out, folder, n)
            if progress is not None:
                progress(number + 1, n)
        writer.finish()
        facts = {
            "voxflate": __version__,
            "run": source.folder.resolve().name,
            **loaded.identity,
            **({"other_data": _without_folders(source)} if source.other_data else {}),
            "data": prepared.content_hash,
            "seed": seed,
            "truncation": truncation,
            "n": n,
            "batch": batch,
            "format": file_format,
            "layout": layout,
            "air_hu": air,
            **({"labels": given} if given else {}),
        }
        write_json(folder / "generation.json", facts)
    return [out / kept.images[0] for kept in writer.kept]


def _without_folders(source: Source) -> str:
    """The remark about other data without paths, because the file goes with the volumes."""
    remark = source.other_data
    for folder in (source.prepared.root, source.folder):
        remark = remark.replace(str(folder), folder.resolve().name)
    return remark


def _check_space(out: Path, folder: Path, n: int) -> None:
    """Refuse more volumes than the disk has room for, by the size of the first."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if (n - 1) * size > free:
        raise VoxflateError(
            f"{out}: {n} volumes need about {n * size / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free; "
            "choose another disk, or fewer volumes"
        )


def check_generation(
    run: Path,
    out: Path,
    data: Path | None = None,
    device: str | None = None,
    file_format: str = "nifti",
    layout: str = FLAT,
    snapshot: Snapshot = "newest",
    air: float | None = None,
    other_data: bool = False,
) -> Source:
    """Check everything that can be checked before a network is loaded; arguments as in `generate`.

    Returns:
        The run or export, checked.

    Raises:
        VoxflateError: If `run` is neither a trained 3D run nor an export, its data is missing or differs, it
            has no such snapshot, `out` is not empty, or the format, layout or value of air is unknown or does
            not suit the volumes.
    """
    check_new_folder(out)
    check_outside_sets(out)
    source = open_source(run, data, device, other_data=other_data)
    check_volumes(source)
    check_format(file_format, layout, source)
    source.check(snapshot)
    check_air(source.prepared, air)
    return source
