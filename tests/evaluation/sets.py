"""Prepared sets of given volumes, for evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxflate.data.prepared import (
    Manifest,
    PreparedSet,
    Scan,
    content_sha256,
    open_prepared,
    to_stored,
    voxels_sha256,
)


def write_set(folder: Path, train: np.ndarray, heldout: np.ndarray, subjects: Sequence[str]) -> PreparedSet:
    """A set of volumes [n, 1, D, H, W] in [-1, 1]."""
    folder.mkdir()
    stored = to_stored(train[:, 0]), to_stored(heldout[:, 0])
    np.save(folder / "train.npy", stored[0])
    np.save(folder / "heldout.npy", stored[1])
    splits = ["train"] * len(train) + ["heldout"] * len(heldout)
    scans = [
        Scan(subject, split, "0" * 64, np.eye(4).tolist(), (0.0, 1.0))
        for subject, split in zip(subjects, splits, strict=True)
    ]
    Manifest(
        recipe="mr", steps=[], shape=train.shape[2:], spacing=(2.0, 1.0, 1.0), affine=np.eye(4).tolist(),
        intensity=(0.0, 1.0), scans=scans, held_out=0.2, seed=0,
        content_sha256=content_sha256(voxels_sha256(volume) for part in stored for volume in part),
        libraries={},
    ).write(folder)  # fmt: skip
    return open_prepared(folder)
