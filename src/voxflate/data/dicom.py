"""DICOM series: slices gathered from any folder layout, put in order by where they lie, checked, read.

Order and spacing come from positions along the slice normal, never from file names. A series whose slices
cannot be one box of voxels (gantry tilt, uneven gaps, slices twice) is refused with what was measured.
Pixels are decoded by GDCM through SimpleITK, which knows the compressed transfer syntaxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from pydicom.uid import UID

from voxflate.data.checks import check_claim, check_grid, unreadable
from voxflate.data.itk import world_affine
from voxflate.data.volume import Float64, Geometry, Volume
from voxflate.errors import VoxflateError

SUFFIXES = (".dcm", ".ima")
TILT_DEGREES = 0.2
"""Largest angle between the line through the slices' corners and their normal."""
GAP_SHARE = 0.02
"""Largest difference of a gap between two slices from the median gap, as a share of it."""

_ITK: Any = SimpleITK  # says that it is typed, but most of its functions are not
_SAME_PLACE = 1e-3  # mm
_MAGIC_AT, _MAGIC = 128, b"DICM"
_TAGS = (
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "BitsAllocated",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PhotometricInterpretation",
)


@dataclass(frozen=True)
class Slice:
    """What one file's header says.

    Attributes:
        path: The file.
        elements: Keyword -> value of its DICOM elements, as far as they are needed.
        compressed: Say whether its pixels are.
    """

    path: Path
    elements: Mapping[str, Any]
    compressed: bool

    def value(self, name: str) -> Any:
        """An element's value, None where it is missing or empty."""
        value = self.elements.get(name)
        return None if value is None or value == "" else value

    def count(self, name: str, default: int = 0) -> int:
        """An element that is one whole number, `default` where it is missing.

        Raises:
            VoxflateError: If it is something else.
        """
        value = self.value(name)
        try:
            return default if value is None else int(value)
        except (TypeError, ValueError) as error:
            raise VoxflateError(
                f"{self.path}: its {name} is {str(value)[:40]!r}, expected a whole number; export it again"
            ) from error

    def numbers(self, name: str, count: int) -> Float64:
        """An element of `count` numbers.

        Raises:
            VoxflateError: If it is missing or is something else.
        """
        value = self.value(name)
        try:
            found = np.array([float(part) for part in value], np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise VoxflateError(
                f"{self.path}: has no usable {name} ({value}), so where its pixels lie is unknown and is "
                "never guessed; export the series again, or remove it"
            )
        return found


@dataclass(frozen=True)
class Series:
    """One acquisition, its slices in order along their normal.

    Attributes:
        files: In order.
        geometry: The grid of the voxels.
        patient: The patient's identifier as the files have it; must not be written anywhere.
        modality: As DICOM names it: CT, MR, PT, ...
    """

    files: tuple[Path, ...]
    geometry: Geometry
    patient: str
    modality: str


def is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM, by its suffix or by the mark at byte 128."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    with open(path, "rb") as file:
        return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def read_header(path: Path) -> Slice:
    """Read what is needed of a file's header.

    Raises:
        VoxflateError: If it is no DICOM image.
    """
    try:
        # Values are converted when they are asked for, and odd ones are warned of then.
        with pydicom.config.disable_value_validation():
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            syntax = header.file_meta.get("TransferSyntaxUID")
            compressed = syntax is None or UID(syntax).is_compressed
            return Slice(path, {name: header.get(name) for name in _TAGS}, compressed)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "DICOM", error) from error


def group(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Sort slices into acquisitions: one series, one orientation, one size.

    Scouts often share the series of the scan that they were made for, and differ in orientation. The folder
    does not matter, unless folders hold copies of the same slices: then each folder is an acquisition.
    """
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    for one in slices:
        directions = one.value("ImageOrientationPatient")
        try:
            rounded = tuple(round(float(part), 2) + 0.0 for part in directions)
        except (TypeError, ValueError):
            rounded = ()
        size = (str(one.value("Rows")), str(one.value("Columns")))  # damaged ones may be lists
        key = (str(one.value("SeriesInstanceUID")), rounded, *size)
        groups.setdefault(key, []).append(one)
    return [part for members in groups.values() for part in _copies_apart(members)]


def _copies_apart(members: list[Slice]) -> list[list[Slice]]:
    places = {str(one.value("ImagePositionPatient")) for one in members}
    if len(places) == len(members):
        return [members]
    folders: dict[Path, list[Slice]] = {}
    for one in members:
        folders.setdefault(one.path.parent, []).append(one)
    return list(folders.values())


def order(slices: Sequence[Slice]) -> Series:
    """Put the slices of one acquisition in order and check that they fill a box.

    Raises:
        VoxflateError: If a slice is no single-channel image with a position, there is only one, or they are
            tilted, unevenly spaced or double; the message has what was measured.
    """
    for one in slices:
        _check_slice(one)
    first = slices[0]
    if len(slices) < 2:
        raise VoxflateError(f"{first.path}: is a series of a single slice, no volume; remove it")
    across, down = first.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    normal = np.cross(across, down)
    positions = np.array([one.numbers("ImagePositionPatient", 3) for one in slices])
    ranks = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[rank] for rank in ranks], positions[ranks]
    _check_gaps(slices, positions, normal)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    row_side, column_side = first.numbers("PixelSpacing", 2)  # distance of rows, then of columns
    sides = np.array([column_side, row_side, 1.0])
    affine = world_affine(np.column_stack([across, down, step]), sides, positions[0])
    check_grid(first.path, affine)
    geometry = Geometry((len(slices), first.count("Rows"), first.count("Columns")), affine)
    return Series(
        tuple(one.path for one in slices),
        geometry,
        str(first.value("PatientID") or ""),
        str(first.value("Modality") or ""),
    )


def read_series(series: Series) -> Volume:
    """Decode a series; rescale slope and intercept are applied slice by slice (HU for CT).

    Raises:
        VoxflateError: If a file cannot be decoded.
    """
    _, height, width = series.geometry.shape
    array = np.empty(series.geometry.shape, np.float32)
    for index, path in enumerate(series.files):
        reader = _ITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        reader.SetOutputPixelType(_ITK.sitkFloat32)
        reader.GlobalWarningDisplayOff()
        try:
            pixels = _ITK.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise unreadable(path, "DICOM", error) from error
        if pixels.shape[-2:] != (height, width):
            raise VoxflateError(
                f"{path}: holds {pixels.shape[-2]}x{pixels.shape[-1]} pixels, its header says "
                f"{height}x{width}; export the series again"
            )
        array[index] = pixels.reshape(height, width)
    return Volume(array, series.geometry.affine)


def _check_slice(one: Slice) -> None:
    frames, samples = one.count("NumberOfFrames", 1), one.count("SamplesPerPixel", 1)
    if frames > 1:
        raise VoxflateError(
            f"{one.path}: holds {frames} frames in one file (enhanced DICOM), which is not read yet; "
            "convert it to NIfTI, or export it as one file a slice"
        )
    if not one.count("Rows") or not one.count("Columns"):
        raise VoxflateError(f"{one.path}: is DICOM without an image; remove it")
    if samples != 1 or one.value("PhotometricInterpretation") not in (None, "MONOCHROME2"):
        kind = one.value("PhotometricInterpretation")
        raise VoxflateError(f"{one.path}: is a {kind} picture of {samples} channels, no scan; remove it")
    _check_size(one)


def _check_size(one: Slice) -> None:
    """Refuse a header that claims more pixels than its file can hold, before memory is taken for them."""
    if one.compressed:
        return
    pixels = one.count("Rows") * one.count("Columns")
    check_claim(one.path, pixels * one.count("BitsAllocated", 8) // 8, packed=False)


def _check_gaps(slices: Sequence[Slice], positions: Float64, normal: Float64) -> None:
    """Refuse slices that lie twice at one place, shear away from their normal, or are unevenly spaced."""
    gaps = np.diff(positions @ normal)
    where = f"{slices[0].path}: its series of {len(slices)} slices"
    if gaps.min() < _SAME_PLACE:
        twice = int(np.argmin(gaps))
        raise VoxflateError(
            f"{where} has two at one place ({slices[twice].path.name}, {slices[twice + 1].path.name}): "
            "several phases or echoes in one series; export them apart, or remove one"
        )
    along = positions[-1] - positions[0]
    cosine = float(along @ normal / np.linalg.norm(along) / np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > TILT_DEGREES:
        raise VoxflateError(
            f"{where} is sheared by {tilt:.1f} degrees (gantry tilt), at most {TILT_DEGREES} can be read; "
            "correct the tilt with a converter, or remove it"
        )
    median = float(np.median(gaps))
    if np.abs(gaps - median).max() > GAP_SHARE * median:
        raise VoxflateError(
            f"{where} is unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm (median {median:.2f}): "
            "slices are missing or overlap; export it whole, or remove it"
        )
