"""Volumes back to files that any viewer opens at the right place, size and intensity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64

# nibabel says that it is typed, but its classes are not.
_nifti: Any = nib.nifti1

SUFFIXES = (".nii.gz", ".nii")


def write_nifti(
    path: str | Path, volume: Float32, prepared: PreparedSet, affine: Float64 | None = None
) -> None:
    """Write a volume of a prepared set, or one generated from it, as NIfTI.

    Args:
        path: File to write, .nii or .nii.gz.
        volume: float32 [D, H, W] in [-1, 1]; what lies outside is clipped.
        prepared: The set that says what the values, the voxels and the place mean.
        affine: 4x4, index (w, h, d, 1) -> world mm; the set's own if None. Give a scan's from the manifest to
            put that scan back where it was.

    Raises:
        VoxflateError: If the shape is not the set's, if a voxel is NaN, or if the file cannot be written.
    """
    prepared.check_volume(Path(path), volume)
    intensity: npt.NDArray[Any] = prepared.to_intensity(np.clip(volume, -1, 1))
    # Scanners write whole Hounsfield units; MR has no unit, and rounding could lose a narrow range.
    if prepared.is_ct:
        intensity = np.rint(intensity).astype(np.int16)
    write_array(path, intensity, prepared.affine if affine is None else affine)


def write_array(path: str | Path, array: npt.NDArray[Any], affine: Float64) -> None:
    """Write an array as NIfTI, whole or not at all.

    Args:
        path: File to write, .nii or .nii.gz.
        array: [D, H, W] in the source's units; the file's axes are the reverse.
        affine: 4x4, index (w, h, d, 1) -> world mm.

    Raises:
        VoxflateError: If the name has another suffix, or if the file cannot be written.
    """
    if not Path(path).name.endswith(SUFFIXES):
        raise VoxflateError(f"{path}: a NIfTI file's name must end in .nii or .nii.gz")
    image = _nifti.Nifti1Image(array.T, affine)
    image.set_qform(affine, code=2)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as temporary:
        image.to_filename(temporary)
