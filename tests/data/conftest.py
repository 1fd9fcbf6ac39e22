"""Scans made on the spot: small, with a known value at a known place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

WriteScan = Callable[..., Path]


@pytest.fixture
def write_scan() -> WriteScan:
    """Writes a NIfTI file; noise of 0 to 100 in RAS at 2 mm unless told otherwise."""

    def write(path: Path, array: Any = None, affine: Any = None, seed: int = 0) -> Path:
        if array is None:
            array = np.random.default_rng(seed).uniform(0, 100, (12, 14, 10)).astype(np.float32)
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine
        nib.Nifti1Image(array, affine).to_filename(path)
        return path

    return write


@pytest.fixture
def scans(tmp_path: Path, write_scan: WriteScan) -> Path:
    """A folder of ten scans whose names are nobody's business."""
    folder = tmp_path / "scans"
    for i in range(10):
        write_scan(folder / f"MUSTERMANN-{i}.nii.gz", seed=i)
    return folder
