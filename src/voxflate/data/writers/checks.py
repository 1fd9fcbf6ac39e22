"""Checks before a volume is written to a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxflate._system.errors import VoxflateError
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32


def check_volume(path: Path, volume: Float32, prepared: PreparedSet) -> None:
    """Refuse a volume that does not match its set.

    Raises:
        VoxflateError: If the shape is not the set's, or a voxel is NaN.
    """
    if volume.shape != prepared.shape:
        raise VoxflateError(f"{path}: the volume is {volume.shape}, the prepared set has {prepared.shape}")
    if np.isnan(volume).any():
        raise VoxflateError(f"{path}: {np.isnan(volume).sum()} voxels are NaN; nothing was written")


def check_dicom_modality(prepared: PreparedSet, what: object) -> None:
    """Refuse a set whose volumes would be declared as something else: only CT and MR series are written.

    Args:
        prepared: The set that defines modality and values.
        what: What is to be written, for the message.

    Raises:
        VoxflateError: If it is neither CT in Hounsfield units nor MR.
    """
    if prepared.is_ct or prepared.modality == "MR":
        return
    recipe = prepared.manifest.recipe
    if prepared.modality == "CT":
        raise VoxflateError(
            f"{what}: the scans are CT, but recipe {recipe} does not keep Hounsfield units, which DICOM's CT "
            "has; write NIfTI, or prepare the scans with --recipe ct"
        )
    reason, otherwise = f"the modality is {prepared.modality}", ""
    if not prepared.modality:
        reason, otherwise = f"the modality is unknown (recipe {recipe})", ", or prepare with --modality MR"
    raise VoxflateError(f"{what}: {reason}, and only CT and MR are written as DICOM; write NIfTI{otherwise}")
