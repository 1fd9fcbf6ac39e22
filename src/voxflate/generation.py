"""From a trained run to volumes on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from voxflate.allocator import keep_freed_memory
from voxflate.build import choose_device
from voxflate.config import RunConfig
from voxflate.configfile import load_config, with_values
from voxflate.data.dicom_out import write_dicom
from voxflate.data.export import write_nifti
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.volume import Float32
from voxflate.errors import VoxflateError
from voxflate.files import check_new_folder, whole_folder, write_json
from voxflate.gans.sampling import sample
from voxflate.nn import Generator
from voxflate.training.run import load_generator
from voxflate.training.snapshots import list_snapshots

Writer = Callable[[Path, Float32, PreparedSet], None]

FORMATS: dict[str, tuple[str, Writer]] = {"nifti": (".nii.gz", write_nifti), "dicom": ("", write_dicom)}
"""Name -> what is put behind a volume's name, and what writes it: a file, or a folder of slices."""


def generate(
    run: Path,
    n: int,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    out: Path,
    batch: int = 8,
    data: Path | None = None,
    device: str | None = None,
    file_format: str = "nifti",
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Generate volumes and write them in the prepared set's geometry and intensities.

    Volume i of a seed is the same whatever `n` and `batch` are (to rounding).

    Args:
        run: Folder of a 3D run.
        n: How many.
        seed: Of the series.
        truncation: 1 for the full variety; less pulls the samples towards the mean style.
        out: Folder to write to; it must be new or empty. It is there when all volumes are.
        batch: Volumes at a time.
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
    settings = check_generation(run, out, data, device, file_format)
    generator, n_images = generator_on_device(run, settings)
    prepared = open_prepared(settings.data)
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
) -> RunConfig:
    """Refuse what can be refused before a network is loaded; the arguments are those of `generate`.

    Returns:
        The run's settings, with `data` and `device` in their places.

    Raises:
        VoxflateError: If `run` is no trained 3D run, its data is not there, `out` holds something, or no
            format has this name.
    """
    if file_format not in FORMATS:
        raise VoxflateError(f"--format {file_format}: choose one of {', '.join(FORMATS)}")
    settings = sampling_settings(run, data, device)
    if settings.training.phase != "3d":
        raise VoxflateError(f"{run}: is a 2D run; volumes come from a 3D one, made by voxflate train")
    check_new_folder(out)
    return settings


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


def generator_on_device(run: Path, settings: RunConfig) -> tuple[Generator, int]:
    """Load the averaged generator of a run's newest snapshot where it shall compute.

    Args:
        run: Run folder.
        settings: Its settings; of them `training.device` is read, where auto takes a GPU if there is one.

    Returns:
        The generator, and the images it has seen.

    Raises:
        VoxflateError: If the device is not there, or as `load_generator`.
    """
    device = choose_device(settings.training.device)
    keep_freed_memory()
    generator, _, n_images = load_generator(run)
    return generator.to(device), n_images
