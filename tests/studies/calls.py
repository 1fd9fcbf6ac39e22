"""How tests call the study, in the environment that has Snakemake."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("VOXFLATE_STUDY_PYTHON", ROOT / ".venv-study" / "bin" / "python"))
ROWS = ("coca64-baseline", "coca64-baseline-inflate-1")
NEEDS_SNAKEMAKE = pytest.mark.skipif(
    not PYTHON.with_name("snakemake").is_file(),
    reason="Snakemake has an environment of its own: make study, or name its Python in VOXFLATE_STUDY_PYTHON",
)


def write_scans(folder: Path) -> Path:
    """Twelve blobs of 16x32x32 voxels."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (32, 32, 16)), indexing="ij"))
    for number in range(12):
        centre, width = rng.normal(0, 0.2, (3, 1, 1, 1)), rng.uniform(0.3, 0.6, (3, 1, 1, 1))
        array = 1000 * np.exp(-(((grid - centre) / width) ** 2).sum(0)) + rng.normal(0, 5, grid.shape[1:])
        image = nib.Nifti1Image(array.astype(np.float32), np.diag([5, 5, 10, 1.0]))
        nib.save(image, folder / f"sub-{number:02d}.nii.gz")
    return folder


def environment() -> dict[str, str]:
    paths = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def command(scans: Path, out: Path, *more: str) -> list[str]:
    """A study of two rows at toy scale; later options replace earlier ones."""
    words = ["--scale", "toy", "--data", str(scans), "--out", str(out), "--seeds", "1"]
    return [str(PYTHON), "-m", "studies", *words, "--rows", ",".join(ROWS), *more]
