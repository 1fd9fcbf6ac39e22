"""Writes volumes as DICOM series, CT or MR: one file per slice; generated ones are marked as synthetic.

The files have new UIDs, the image type DERIVED, no date and no personal data. Slices are axial in the usual
orientation: rows towards the subject's left, columns towards the back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_folder
from voxflate.data.prepared import PreparedSet
from voxflate.data.readers.refusals import LARGEST_SHEAR, shear_degrees
from voxflate.data.volume import Float32, Float64, Geometry
from voxflate.data.writers.checks import check_dicom_modality, check_volume
from voxflate.data.writers.synthetic import PREPARED, Look, hounsfield, kind_of

MR_LEVELS = 4095
"""MR has no unit: [-1, 1] is stored in 12 bits, as on most scanners."""

_TO_DICOM = np.diag([-1.0, -1.0, 1.0])  # RAS+ to DICOM's world: x to the left, y to the back


def write_dicom(
    folder: str | Path,
    volume: Float32,
    prepared: PreparedSet,
    affine: Float64 | None = None,
    *,
    look: Look | None,
    channel: int = 0,
    beside: Path | None = None,
) -> None:
    """Write an image channel of a prepared set's volume, or of one generated from it, as a DICOM series.

    CT holds whole Hounsfield units (slope 1, intercept 0); MR holds 0 to `MR_LEVELS`.

    Args:
        folder: Folder to make; new or empty.
        volume: float32 [D, H, W] in [-1, 1]; values outside are clipped.
        prepared: The set that defines values, voxels and position.
        affine: 4x4, index (w, h, d, 1) -> world mm, RAS+; the set's own if None.
        look: Look of a generated volume, which the files then call synthetic; None for a scan. There is no
            default: a scan called synthetic does harm, and so does the reverse.
        channel: Index of the image channel.
        beside: Folder of a series of the same volume; its patient, study and frame of reference are reused.

    Raises:
        VoxflateError: If the shape is not the set's, a voxel is NaN, the set is neither CT nor MR, the axes
            are not at right angles, or the folder cannot be written.
    """
    folder = Path(folder)
    check_volume(folder, volume, prepared)
    check_dicom_modality(prepared, folder)
    affine = prepared.affine if affine is None else affine
    check_right_angles(affine, folder)
    depth, height, width = volume.shape
    # Rotated about the feet-head axis: the first row is the front, the first column the right side.
    grid = Geometry((depth, height, width), affine).regrid(
        (depth, height, width), (0, height - 1, width - 1), (1, -1, -1)
    )
    pixels = _pixels(as_rows(np.clip(volume, -1, 1)), prepared, look, channel)
    common = _common(grid, prepared.is_ct, look)
    if len(prepared.layout.channels) > 1:
        name = prepared.layout.channels[channel].name
        common.SeriesDescription = long_string(f"{common.SeriesDescription} {name}")
        if not name.isascii():
            common.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    if beside is not None:
        first = pydicom.dcmread(next(iter(sorted(beside.iterdir()))), stop_before_pixels=True)
        for name in _SHARED:
            setattr(common, name, first[name].value)
        common.SeriesNumber = channel + 1
    with whole_folder(folder) as temporary:
        for index, plane in enumerate(pixels):
            position = _TO_DICOM @ grid.world((index, 0, 0))
            _write_slice(temporary / f"{index + 1:04d}.dcm", common, index, position, plane)


def check_right_angles(affine: Float64, what: object) -> None:
    """Refuse axes that a series cannot have.

    Args:
        affine: 4x4, index (w, h, d, 1) -> world mm.
        what: What has them, for the message.

    Raises:
        VoxflateError: If they are not at right angles.
    """
    if shear_degrees(affine) > LARGEST_SHEAR:
        raise VoxflateError(
            f"{what}: the axes are {shear_degrees(affine):.1f} degrees off a right angle, which DICOM "
            "cannot store; write NIfTI"
        )


def as_rows(volume: Any) -> Any:
    """A volume [D, H, W] as slices from feet to head, each starting with its front row and right column."""
    return volume[:, ::-1, ::-1]


def _pixels(volume: Float32, prepared: PreparedSet, look: Look | None, channel: int) -> Any:
    if prepared.is_ct:
        return hounsfield(volume, prepared, look.air if look else None, channel)
    return np.rint((volume + 1) * (MR_LEVELS / 2)).astype(np.uint16)


def _common(grid: Geometry, is_ct: bool, look: Look | None) -> Dataset:
    """The elements shared by all slices."""
    kind = kind_of(look)
    depth, height, width = grid.spacing
    directions = _TO_DICOM @ grid.affine[:3, :3] / grid.spacing[::-1]
    one = Dataset()
    one.SOPClassUID = CTImageStorage if is_ct else MRImageStorage
    one.Modality = "CT" if is_ct else "MR"
    one.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if is_ct else "OTHER"]
    one.DerivationDescription = look.description if look else PREPARED
    study = generate_uid()
    # Every volume is a patient with its own study, because viewers sort by these two.
    one.PatientName, one.PatientID = f"{kind.upper()}^VOLUME", f"{kind.upper()}-{study[-12:]}"
    one.StudyInstanceUID, one.StudyID, one.SeriesNumber, one.AcquisitionNumber = study, "1", 1, 1
    one.SeriesDescription = f"{kind} {one.Modality}"
    one.Manufacturer = "voxflate"
    for name in ("SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(one, name, generate_uid())
    for name in _EMPTY + (_EMPTY_CT if is_ct else _EMPTY_MR):
        setattr(one, name, None)
    one.ImageOrientationPatient = [_decimal(x) for x in directions[:, :2].T.ravel()]
    one.PixelSpacing = [_decimal(height), _decimal(width)]
    one.SliceThickness = one.SpacingBetweenSlices = _decimal(depth)
    one.Rows, one.Columns = grid.shape[1:]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BurnedInAnnotation = "NO"
    if look:
        one.SyntheticData = "YES"
    one.BitsAllocated = 16
    one.BitsStored = 16 if is_ct else 12
    one.HighBit = one.BitsStored - 1
    one.PixelRepresentation = int(is_ct)
    if is_ct:
        one.RescaleIntercept, one.RescaleSlope, one.RescaleType = 0, 1, "HU"
    else:
        one.ScanningSequence, one.SequenceVariant, one.MRAcquisitionType = "RM", "NONE", "3D"
    return one


def long_string(start: str, end: str = "") -> str:
    """A text as DICOM allows it in one value of 64 characters; `start` is cut off if both are longer."""
    printable = "".join(one if one.isprintable() and one != "\\" else " " for one in start)
    return printable[: 64 - len(end)].rstrip() + end


_SHARED = ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
# Elements that are required but may be empty (type 2).
_EMPTY = (
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "AccessionNumber",
    "PositionReferenceIndicator",
    "PatientPosition",
    "Laterality",
)
_EMPTY_CT = ("KVP",)
_EMPTY_MR = ("ScanOptions", "RepetitionTime", "EchoTime", "EchoTrainLength")


def _write_slice(path: Path, common: Dataset, index: int, position: Float64, plane: Any) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = common.SOPClassUID
    meta.MediaStorageSOPInstanceUID = generate_uid()
    one = FileDataset(str(path), dict(common), file_meta=meta, preamble=b"\0" * 128)
    one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    one.InstanceNumber = index + 1
    one.ImagePositionPatient = [_decimal(x) for x in position]
    one.PixelData = (
        np.ascontiguousarray(plane).astype("<i2" if common.PixelRepresentation else "<u2").tobytes()
    )
    one.save_as(path, enforce_file_format=True)


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, DICOM's limit."""
    return pydicom.valuerep.format_number_as_ds(float(value))
