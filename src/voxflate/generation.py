"""From a trained run to volumes on the disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxflate.allocator import keep_freed_memory
from voxflate.data.export import write_nifti
from voxflate.data.prepared import open_prepared
from voxflate.errors import VoxflateError
from voxflate.files import write_json
from voxflate.gans.sampling import sample
from voxflate.training.run import load_generator


def generate(
    run: Path,
    n: int,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    out: Path,
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Generate volumes and write them as NIfTI, in the prepared set's geometry and intensities.

    Volume i of a seed is the same whatever `n` and `batch` are (to rounding).

    Args:
        run: Folder of a 3D run.
        n: How many.
        seed: Of the series.
        truncation: 1 for the full variety; less pulls the samples towards the mean style.
        out: Folder to write to; it must be new or empty.
        batch: Volumes at a time.
        progress: Called with (done, n).

    Returns:
        The files, in order.

    Raises:
        VoxflateError: If the run is a 2D one or has no snapshot, `out` holds files, or a number is too
            small.
    """
    if n < 1 or batch < 1:
        raise VoxflateError(f"n and batch must be at least 1, got {n} and {batch}")
    if seed < 0:
        raise VoxflateError(f"seed must be at least 0, got {seed}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VoxflateError(f"{out}: is not an empty folder; nothing is written over: choose another --out")
    generator, config, n_images = load_generator(run)
    if config.training.phase != "3d":
        raise VoxflateError(f"{run}: is a 2D run; volumes come from a 3D one, made by voxflate train")
    keep_freed_memory()
    prepared = open_prepared(config.data)
    digits = max(4, len(str(n - 1)))
    paths: list[Path] = []
    for volumes in sample(generator, n, seed=seed, truncation_psi=truncation, batch=batch):
        for volume in volumes[:, 0].numpy():
            path = out / f"sample-{len(paths):0{digits}d}.nii.gz"
            write_nifti(path, volume, prepared)
            paths.append(path)
            if progress is not None:
                progress(len(paths), n)
    facts = {"run": str(run), "n_images": n_images, "seed": seed, "truncation": truncation, "n": n}
    write_json(out / "generation.json", facts)
    return paths
