"""From a trained run to volumes on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.errors import VoxflateError
from voxflate._system.files import check_new_folder, whole_folder, write_json
from voxflate.config.build import choose_device
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config, with_values
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.volume import Float32
from voxflate.data.writers.dicom import write_dicom
from voxflate.data.writers.nifti import write_synthetic_nifti
from voxflate.gans.samples import sample
from voxflate.runs.export import exported_settings, is_exported, load_exported
from voxflate.runs.load import load_generator
from voxflate.runs.snapshots import list_snapshots

Writer = Callable[[Path, Float32, PreparedSet], None]

FORMATS: dict[str, tuple[str, Writer]] = {
    "nifti": (".nii.gz", write_synthetic_nifti),
    "dicom": ("", write_dicom),
}
"""Name -> what is put behind a volume's name, and what writes it: a file, or a folder of slices."""


def generate(
    run: Path,
    n: int,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    out: Path,
    batch: int = 8,
    snapshot: str = "newest",
    data: Path | None = None,
    device: str | None = None,
    file_format: str = "nifti",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Generate volumes and write them in the prepared set's geometry and intensities.

    Volume i of a seed is the same whatever `n` and `batch` are (to rounding).

    Args:
        run: Folder of a 3D run, or of a generator that `voxflate export` wrote.
        n: How many.
        seed: Of the series.
        truncation: 1 for the full variety; less pulls the samples towards the mean style.
        out: Folder to write to; it must be new or empty. It is there when all volumes are.
        batch: Volumes at a time.
        snapshot: "newest", or "best" by the kernel distance to held-out volumes; of a run.
        data: Where the run's prepared set lies now; None where the run says.
        device: Where to compute, as `training.device`; None for the run's own setting.
        file_format: A name in `FORMATS`.
        progress: Called with (done, n).

    Returns:
        The files, or folders of DICOM series, in order.

    Raises:
        VoxflateError: If the run is a 2D one or has no snapshot, `out` holds files, or a number is too
            small. `out` is then as it was before.
    """
    if n < 1 or batch < 1:
        raise VoxflateError(f"n and batch must be at least 1, got {n} and {batch}")
    if seed < 0:
        raise VoxflateError(f"seed must be at least 0, got {seed}")
    settings, prepared = check_generation(run, out, data, device, file_format)
    generator, n_images = generator_on_device(run, settings, snapshot)
    digits = max(4, len(str(n - 1)))
    suffix, write = FORMATS[file_format]
    names: list[str] = []
    with whole_folder(out) as folder:
        for volumes in sample(generator, n, seed=seed, truncation_psi=truncation, batch=batch):
            for volume in volumes[:, 0].numpy():
                names.append(f"sample-{len(names):0{digits}d}{suffix}")
                write(folder / names[-1], volume, prepared)
                if progress is not None:
                    progress(len(names), n)
        facts = {"run": str(run), "n_images": n_images, "seed": seed, "truncation": truncation, "n": n}
        write_json(folder / "generation.json", facts)
    return [out / name for name in names]


def check_generation(
    run: Path,
    out: Path,
    data: Path | None = None,
    device: str | None = None,
    file_format: str = "nifti",
) -> tuple[RunConfig, PreparedSet]:
    """Refuse what can be refused before a network is loaded; the arguments are those of `generate`.

    Returns:
        The run's settings, with `data` and `device` in their places; the set that says how volumes lie.

    Raises:
        VoxflateError: If `run` is no trained 3D run and no export, its data is not there, `out` holds
            something, or no format has this name.
    """
    if file_format not in FORMATS:
        raise VoxflateError(f"--format {file_format}: choose one of {', '.join(FORMATS)}")
    check_new_folder(out)
    if is_exported(run):
        settings, geometry = exported_settings(run)
        settings = with_values(settings, {"training.device": device or "auto"}, "--device")
        return settings, open_prepared(data) if data else geometry
    settings = sampling_settings(run, data, device)
    if settings.training.phase != "3d":
        raise VoxflateError(f"{run}: is a 2D run; volumes come from a 3D one, made by voxflate train")
    return settings, open_prepared(settings.data)


def sampling_settings(
    run: Path,
    data: Path | None = None,
    device: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The settings of a run that has a snapshot and whose data is there.

    Args:
        run: Run folder.
        data: Where its prepared set lies now; None where the run says.
        device: As `training.device`; None for the run's own.
        values: Other changes, by dotted key.

    Raises:
        VoxflateError: If there is no such run, it has no snapshot, its data cannot be opened, or a value is
            wrong.
    """
    config = with_values(load_config(run), values or {}, "--set")
    if data is not None:
        config = with_values(config, {"data": str(data.absolute())}, "--data")
    if device is not None:
        config = with_values(config, {"training.device": device}, "--device")
    if not list_snapshots(run):
        raise VoxflateError(f"{run}: no snapshot to load; is it a run folder, and has it trained?")
    try:
        open_prepared(config.data)
    except VoxflateError as error:
        hint = "" if data else "; if the data has moved, say where with --data FOLDER"
        raise VoxflateError(f"{error}{hint}") from error
    return config


def generator_on_device(run: Path, settings: RunConfig, snapshot: str = "newest") -> tuple[nn.Module, int]:
    """Load the averaged generator of a run's snapshot, or an exported one, where it shall compute.

    Args:
        run: Run folder, or folder of an export.
        settings: Its settings; of them `training.device` is read, where auto takes a GPU if there is one.
        snapshot: "newest" or "best"; an export has only one.

    Returns:
        The generator, and the images it has seen.

    Raises:
        VoxflateError: If the device is not there, or as `load_generator`.
    """
    device = choose_device(settings.training.device)
    keep_freed_memory()
    generator, _, n_images = load_exported(run) if is_exported(run) else load_generator(run, snapshot)
    return generator.to(device), n_images
