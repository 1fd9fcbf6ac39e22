"""Scans with masks, made on the spot."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

WriteScan = Callable[..., Path]


@pytest.fixture
def pairs(tmp_path: Path, write_scan: WriteScan) -> Path:
    """Six scans of noise, whose masks have the labels 2 (left half of a box) and 7 (right half)."""
    folder = tmp_path / "in"
    for i in range(6):
        labels = np.zeros((12, 14, 10), np.uint8)
        labels[2:5, 3:9, 2 : 6 + i % 3] = 2
        labels[5:8, 3:9, 2 : 6 + i % 3] = 7
        write_scan(folder / "images" / f"MUSTERMANN-{i}.nii.gz", seed=i)
        write_scan(folder / "labels" / f"MUSTERMANN-{i}.nii.gz", labels)
    return folder
