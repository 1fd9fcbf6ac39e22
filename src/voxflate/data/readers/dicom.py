"""DICOM series: sorts slices by position, checks them and reads them.

Order and spacing come from positions along the slice normal, never from file names. A series whose slices do
not form one box of voxels (gantry tilt, uneven gaps, duplicate slices, a slice unlike the others) is refused
with the measured value; tilted and unevenly spaced series can be resampled on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from voxflate.data.channels import MODALITIES, OTHER
from voxflate.data.readers.dicom_pixels import (
    Padding,
    check_bits,
    check_values,
    decode,
    fill_padding,
    padding_of,
)
from voxflate.data.readers.dicom_slices import Slice, check_slice
from voxflate.data.readers.generated import note_synthetic
from voxflate.data.readers.itk import world_affine
from voxflate.data.readers.refusals import LARGEST_SHEAR, ScanError, check_grid
from voxflate.data.readers.regrid import even_out, even_places
from voxflate.data.readers.stack import check_alike, check_line
from voxflate.data.volume import Float64, Geometry, Volume

GAP_SHARE = 0.02
"""Largest difference of a gap between slices from the median gap, as a fraction of the median."""
LARGEST_GAP = 3.0
"""Largest gap that is filled on request, in median gaps: the content of a wider one is unknown."""
SMALLEST_GAP = 0.4
"""Smallest gap that is resampled on request, in median gaps: closer slices come from two passes."""

MISSING = 1.5
"""Gaps this many times as wide as the header says are remarked on."""

MOST_ACQUISITIONS = 4
FEWEST_SLICES = 3
"""At most this many acquisitions, of at least this many slices, end to end in one series are remarked on."""

_SAME_PLACE = 1e-3  # mm


@dataclass(frozen=True)
class Series:
    """One acquisition: its slices in order along their normal.

    Attributes:
        slices: The slices in order.
        geometry: The grid of the voxels; if a tilt was accepted, its axes are not at right angles.
        patient: The patient's identifier from the files; must not be written anywhere.
        study: The study's UID; must not be written anywhere.
        modality: DICOM's name for it: CT, MR, PT, ...; OTHER for any other name, empty if missing.
        description: The scanner operator's text; must not be written anywhere.
        image_type: Values of ImageType, such as ORIGINAL, PRIMARY, ADC.
        echo_ms: Echo time, ms; NaN if missing.
        has_units: Whether every slice has a rescale intercept, without which CT is not in Hounsfield units.
        paddings: For each slice the values that mean "no data"; empty if no slice has any.
        places: Positions of the slices along the normal, mm, if uneven gaps were accepted.
    """

    slices: tuple[tuple[Path, int], ...]
    geometry: Geometry
    patient: str
    modality: str
    study: str = ""
    description: str = ""
    image_type: tuple[str, ...] = ()
    echo_ms: float = float("nan")
    has_units: bool = True
    paddings: tuple[Padding | None, ...] = ()
    places: Float64 | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files without repeats."""
        return tuple(dict.fromkeys(path for path, _ in self.slices))


def order(slices: Sequence[Slice], *, regrid: bool = False) -> Series:
    """Sort the slices of one acquisition and check that they fill a box.

    Args:
        slices: In any order.
        regrid: Accept tilted and unevenly spaced slices, which are resampled when they are read.

    Raises:
        ScanError: If a slice is not a single-channel image with a position, there is only one slice, one
            differs from the others in orientation, size, spacing or in-plane position, or they are
            tilted, unevenly spaced or duplicated. The message gives the measured value, and names the odd
            slice if there is one.
    """
    for one in slices:
        check_slice(one)
        check_bits(one)
    first = slices[0]
    if len(slices) < 2:
        raise ScanError(first.path, "is a series of a single slice, not a volume; remove it")
    if any("MOSAIC" in _words(one) for one in slices):
        raise ScanError(
            first.path,
            "is a mosaic (all slices of a volume in one picture); convert it to NIfTI, one file per volume",
        )
    check_alike(slices)
    for one in slices:
        check_values(one)
    across, down = first.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    normal = np.cross(across, down)
    positions = np.array([one.numbers("ImagePositionPatient", 3) for one in slices])
    ranks = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[rank] for rank in ranks], positions[ranks]
    places = positions @ normal
    _check_twice(slices, places)
    check_line(slices, positions, across, down, places)
    if not regrid:
        _check_tilt(slices, positions, normal)
    even = _check_gaps(slices, places, regrid)
    count = len(slices) if even else even_places(places)
    step = (positions[-1] - positions[0]) / (count - 1)
    row_side, column_side = first.numbers("PixelSpacing", 2)  # distance between rows, then columns
    sides = np.array([column_side, row_side, 1.0])
    affine = world_affine(np.column_stack([across, down, step]), sides, positions[0])
    check_grid(first.path, affine)
    notes = (
        _note_missing(first, float(np.linalg.norm(step))),
        _note_acquisitions(slices),
        "" if even else "the slices are unevenly spaced, and were interpolated to even gaps (--regrid)",
        note_synthetic(first.text("DerivationDescription")),
    )
    note = "; ".join(filter(None, notes))
    grid = Geometry((count, first.count("Rows"), first.count("Columns")), affine, note)
    return _series(slices, grid, None if even else places)


def read_series(series: Series, *, is_ct: bool | None = None) -> Volume:
    """Decode a series; rescale slope and intercept are applied slice by slice (HU for CT).

    Padding pixels become air. Unevenly spaced slices are interpolated to even spacing; a
    tilt stays in the affine.

    Args:
        series: The series.
        is_ct: Whether air is -1000; None to go by its modality.

    Raises:
        ScanError: If a file cannot be decoded.
    """
    _, height, width = series.geometry.shape
    array = np.empty((len(series.slices), height, width), np.float32)
    path, frames = Path(), array[:0]
    for index, (file, frame) in enumerate(series.slices):
        if file != path:
            path, frames = file, decode(file, height, width)
        if frame >= len(frames):
            raise ScanError(path, f"has {len(frames)} frames, fewer than its header says; export it again")
        array[index] = frames[frame]
    fill_padding(array, series.paddings, is_ct=series.modality == "CT" if is_ct is None else is_ct)
    if series.places is not None:
        array = even_out(array, series.places)
    return Volume(array, series.geometry.affine)


def _series(slices: Sequence[Slice], grid: Geometry, places: Float64 | None) -> Series:
    """Make a series of sorted slices."""
    first = slices[0]
    modality = first.text("Modality")
    paddings = tuple(padding_of(one) for one in slices)
    return Series(
        tuple((one.path, one.frame) for one in slices),
        grid,
        first.text("PatientID"),
        modality if modality in ("", *MODALITIES) else OTHER,
        first.text("StudyInstanceUID"),
        first.text("SeriesDescription") or first.text("ProtocolName"),
        _words(first),
        first.number("EchoTime"),
        all(one.value("RescaleIntercept") is not None for one in slices),
        paddings if any(paddings) else (),
        places,
    )


def _note_missing(one: Slice, gap: float) -> str:
    """Remark on slices much farther apart than the header says, as when every second one is missing.

    CT headers mostly give only the thickness of a slice.
    """
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        stated = one.number(name)
        if stated > 0:
            missing = stated < gap / MISSING
            return f"slices are farther apart than their headers say ({name}): some may be missing" * missing
    return ""


def _note_acquisitions(slices: Sequence[Slice]) -> str:
    """Remark on sorted slices that come from a few acquisitions placed end to end.

    Interleaved acquisitions are normal for one scan, and scanners that count every rotation of
    the tube have many acquisitions.
    """
    lengths = [len(list(run)) for _, run in groupby(slices, lambda one: one.text("AcquisitionNumber"))]
    numbers = {one.text("AcquisitionNumber") for one in slices}
    if not 1 < len(lengths) == len(numbers) <= MOST_ACQUISITIONS or min(lengths) < FEWEST_SLICES:
        return ""
    return (
        f"its slices come from {len(lengths)} acquisitions end to end (AcquisitionNumber), read as one "
        "volume; if they are not one scan, export them separately"
    )


def _words(one: Slice) -> tuple[str, ...]:
    """Values of ImageType."""
    value = one.value("ImageType")
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def _check_twice(slices: Sequence[Slice], places: Float64) -> None:
    gaps = np.diff(places)
    if gaps.min() < _SAME_PLACE:
        twice = int(np.argmin(gaps))
        raise ScanError(
            slices[0].path,
            f"its series of {len(slices)} slices has two at one position ({{one}}, {{other}}): several "
            "phases or echoes in one series; export them separately, or remove one",
            one=slices[twice].label,
            other=slices[twice + 1].label,
        )


def _check_tilt(slices: Sequence[Slice], positions: Float64, normal: Float64) -> None:
    """Refuse slices whose corners are sheared against their normal."""
    along = positions[-1] - positions[0]
    cosine = float(along @ normal / np.linalg.norm(along) / np.linalg.norm(normal))
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > LARGEST_SHEAR:
        raise ScanError(
            slices[0].path,
            f"its series of {len(slices)} slices is sheared by {tilt:.1f} degrees (gantry tilt), at most "
            f"{LARGEST_SHEAR} can be read; resample it with --regrid, or remove it",
        )


def _check_gaps(slices: Sequence[Slice], places: Float64, regrid: bool) -> bool:
    """Tell whether the slices are evenly spaced; refuse uneven ones, or gaps that cannot be filled."""
    gaps = np.diff(places)
    median = float(np.median(gaps))
    if np.abs(gaps - median).max() <= GAP_SHARE * median:
        return True
    if regrid and SMALLEST_GAP * median <= gaps.min() and gaps.max() <= LARGEST_GAP * median:
        return False
    odd = int(np.argmax(np.abs(gaps - median)))
    advice = (
        f"gaps of more than {LARGEST_GAP:g} medians are not filled in, nor overlaps resampled"
        if regrid
        else "resample it with --regrid"
    )
    raise ScanError(
        slices[0].path,
        f"its series of {len(slices)} slices is unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm "
        f"(median {median:.2f}), as between {{one}} and {{other}}: slices are missing or overlap; {advice}, "
        "export it whole, or remove it",
        one=slices[odd].label,
        other=slices[odd + 1].label,
    )
