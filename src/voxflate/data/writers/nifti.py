"""Writes volumes as NIfTI files that any viewer shows at the right position, size and intensity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file
from voxflate.data.channels import mask_labels, numbered
from voxflate.data.prepared import PreparedSet
from voxflate.data.volume import Float32, Float64
from voxflate.data.writers.checks import check_volume
from voxflate.data.writers.synthetic import Look, hounsfield

# nibabel claims to be typed, but its classes are not.
_nifti: Any = nib.nifti1

SUFFIXES = (".nii.gz", ".nii")


def write_nifti(
    path: str | Path,
    volume: Float32,
    prepared: PreparedSet,
    affine: Float64 | None = None,
    *,
    look: Look | None = None,
    channel: int = 0,
) -> None:
    """Write an image channel of a prepared set's volume, or of one generated from it, as NIfTI.

    Args:
        path: File to write, .nii or .nii.gz.
        volume: float32 [D, H, W] in [-1, 1]; values outside are clipped.
        prepared: The set that defines values, voxels and position.
        affine: 4x4, index (w, h, d, 1) -> world mm; the set's own if None. A scan's affine from the manifest
            puts that scan back at its position in the source.
        look: Look of a generated volume; None for a scan.
        channel: Index of the image channel.

    Raises:
        VoxflateError: If the shape is not the set's, a voxel is NaN, or the file cannot be written.
    """
    check_volume(Path(path), volume, prepared)
    intensity: npt.NDArray[Any]
    if prepared.is_ct:
        intensity = hounsfield(volume, prepared, look.air if look else None, channel)
    else:  # no unit, and rounding could destroy a narrow range
        intensity = prepared.to_intensity(np.clip(volume, -1, 1), channel)
    place = prepared.affine if affine is None else affine
    write_array(path, intensity, place, look.description if look else "")


def write_mask_nifti(
    path: str | Path,
    volume: Float32,
    prepared: PreparedSet,
    affine: Float64 | None = None,
    *,
    look: Look | None = None,
    renumbered: bool = False,
) -> None:
    """Write the mask of a volume as NIfTI: every voxel gets the class with the largest share.

    Args:
        path: File to write, .nii or .nii.gz.
        volume: float32 [C, D, H, W] in [-1, 1], all channels of the set.
        prepared: The set that defines the classes and the position.
        affine: 4x4, index (w, h, d, 1) -> world mm; the set's own if None. Use the affine of its scan.
        look: Look of a generated volume; None for a scan.
        renumbered: Write the classes as 1, 2, 3, ... instead of their values in the source.

    Raises:
        VoxflateError: If the shape is not the set's, a voxel is NaN, or the file cannot be written.
    """
    for channel in volume:
        check_volume(Path(path), channel, prepared)
    labels: npt.NDArray[Any] = mask_labels(volume, prepared.layout)
    if renumbered:
        labels = numbered(labels, prepared.layout)
    place = prepared.affine if affine is None else affine
    write_labels_array(path, labels, place, look.description if look else "")


def write_labels_array(
    path: str | Path, labels: npt.NDArray[Any], affine: Float64, description: str = ""
) -> None:
    """Write a mask's labels [D, H, W] in the smallest integer type that fits, as `write_array` does."""
    kind = np.uint8 if labels.max() < 256 else np.int16
    write_array(path, labels.astype(kind), affine, description)


def write_array(path: str | Path, array: npt.NDArray[Any], affine: Float64, description: str = "") -> None:
    """Write an array as NIfTI, whole or not at all.

    Args:
        path: File to write, .nii or .nii.gz.
        array: [D, H, W] in the source's units; the file's axes are in reverse order.
        affine: 4x4, index (w, h, d, 1) -> world mm.
        description: For the header, at most 79 characters.

    Raises:
        VoxflateError: If the name has another suffix, or the file cannot be written.
    """
    if not Path(path).name.endswith(SUFFIXES):
        raise VoxflateError(f"{path}: a NIfTI file's name must end in .nii or .nii.gz")
    image = _nifti.Nifti1Image(array.T, affine)
    image.set_qform(affine, code=2)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii", "replace")
    with whole_file(path) as temporary:
        image.to_filename(temporary)
