"""DICOM series: slices put in order by where they lie, checked, read.

Order and spacing come from positions along the slice normal, never from file names. A series whose slices
cannot be one box of voxels (gantry tilt, uneven gaps, slices twice, a slice unlike the others) is refused
with what was measured; tilted and uneven ones can be resampled when asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from voxflate.data.readers.dicom_pixels import Padding, decode, fill_padding, padding_of
from voxflate.data.readers.dicom_slices import Slice, check_slice
from voxflate.data.readers.itk import world_affine
from voxflate.data.readers.refusals import LARGEST_SHEAR, ScanError, check_grid
from voxflate.data.readers.regrid import even_out, even_places
from voxflate.data.readers.stack import check_alike, check_line
from voxflate.data.volume import Float64, Geometry, Volume

GAP_SHARE = 0.02
"""Largest difference of a gap between two slices from the median gap, as a share of it."""
LARGEST_GAP = 3.0
"""Largest gap that is filled when asked, in median gaps: what lies in a wider one is not known."""
SMALLEST_GAP = 0.4
"""Smallest gap that is resampled when asked, in median gaps: slices that are nearer come from two passes."""

MISSING = 1.5
"""Gaps this many times as wide as the header says are noted."""

MOST_ACQUISITIONS = 4
FEWEST_SLICES = 3
"""Up to so many acquisitions of at least so many slices, end to end in one series, are noted."""

MODALITIES = ("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT")
"""Those that are named in messages; whatever else the element holds may be anything."""

_SAME_PLACE = 1e-3  # mm


@dataclass(frozen=True)
class Series:
    """One acquisition, its slices in order along their normal.

    Attributes:
        slices: In order: the file and which of its frames.
        geometry: The grid of the voxels; its axes are not at right angles where a tilt was let pass.
        patient: The patient's identifier as the files have it; must not be written anywhere.
        study: The study's UID; likewise.
        modality: As DICOM names it: CT, MR, PT, ...; OTHER for what it does not name, empty if it is missing.
        description: What the scanner's operator called it; must not be written anywhere.
        image_type: Words of the image type, such as ORIGINAL, PRIMARY, ADC.
        echo_ms: Echo time, ms; NaN where there is none.
        has_units: Whether every slice has a rescale intercept, without which CT is not in Hounsfield units.
        paddings: For each slice the values that stand for no data, if any slice has them.
        places: Position of every slice along the normal, mm, where gaps are uneven and were let pass.
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
        """The files, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.slices))


def order(slices: Sequence[Slice], *, regrid: bool = False) -> Series:
    """Put the slices of one acquisition in order and check that they fill a box.

    Args:
        slices: In any order.
        regrid: Let tilted and unevenly spaced slices pass, to be resampled when they are read.

    Raises:
        ScanError: If a slice is not a single-channel image with a position, there is only one, one differs
            from the others in orientation, size, spacing or place in its plane, or they are tilted, unevenly
            spaced or double; the message has what was measured, and names the slice where one is odd.
    """
    for one in slices:
        check_slice(one)
    first = slices[0]
    if len(slices) < 2:
        raise ScanError(first.path, "is a series of a single slice, not a volume; remove it")
    if any("MOSAIC" in _words(one) for one in slices):
        raise ScanError(
            first.path,
            "is a mosaic (all slices of a volume in one picture); convert it to NIfTI, one file per volume",
        )
    check_alike(slices)
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
    row_side, column_side = first.numbers("PixelSpacing", 2)  # distance of rows, then of columns
    sides = np.array([column_side, row_side, 1.0])
    affine = world_affine(np.column_stack([across, down, step]), sides, positions[0])
    check_grid(first.path, affine)
    notes = _note_missing(first, float(np.linalg.norm(step))), _note_acquisitions(slices)
    note = "; ".join(filter(None, notes))
    grid = Geometry((count, first.count("Rows"), first.count("Columns")), affine, note)
    return _series(slices, grid, None if even else places)


def read_series(series: Series) -> Volume:
    """Decode a series; rescale slope and intercept are applied slice by slice (HU for CT).

    Pixels that a header calls padding become air. Unevenly spaced slices are interpolated to even ones; a
    tilt stays in the affine.

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
            raise ScanError(path, f"holds {len(frames)} frames, its header says more; export it again")
        array[index] = frames[frame]
    fill_padding(array, series.paddings, is_ct=series.modality == "CT")
    if series.places is not None:
        array = even_out(array, series.places)
    return Volume(array, series.geometry.affine)


def _series(slices: Sequence[Slice], grid: Geometry, places: Float64 | None) -> Series:
    """The series of slices in order."""
    first = slices[0]
    modality = first.text("Modality")
    paddings = tuple(padding_of(one) for one in slices)
    return Series(
        tuple((one.path, one.frame) for one in slices),
        grid,
        first.text("PatientID"),
        modality if modality in ("", *MODALITIES) else "OTHER",
        first.text("StudyInstanceUID"),
        first.text("SeriesDescription") or first.text("ProtocolName"),
        _words(first),
        first.number("EchoTime"),
        all(one.value("RescaleIntercept") is not None for one in slices),
        paddings if any(paddings) else (),
        places,
    )


def _note_missing(one: Slice, gap: float) -> str:
    """Say so if a header has its slices much nearer than they lie, as where every second one is missing."""
    stated = one.number("SpacingBetweenSlices")
    if not 0 < stated < gap / MISSING:
        return ""
    return "slices lie farther apart than their headers say (SpacingBetweenSlices): some may be missing"


def _note_acquisitions(slices: Sequence[Slice]) -> str:
    """Say so if the slices, in order, come from a few acquisitions that lie end to end.

    Acquisitions that lie between each other are how one scan is made, and scanners that number every turn of
    the tube have many.
    """
    lengths = [len(list(run)) for _, run in groupby(slices, lambda one: one.text("AcquisitionNumber"))]
    numbers = {one.text("AcquisitionNumber") for one in slices}
    if not 1 < len(lengths) == len(numbers) <= MOST_ACQUISITIONS or min(lengths) < FEWEST_SLICES:
        return ""
    return (
        f"its slices come from {len(lengths)} acquisitions end to end (AcquisitionNumber), read as one "
        "volume; if they are not one scan, export them apart"
    )


def _words(one: Slice) -> tuple[str, ...]:
    """Words of the image type."""
    value = one.value("ImageType")
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def _check_twice(slices: Sequence[Slice], places: Float64) -> None:
    gaps = np.diff(places)
    if gaps.min() < _SAME_PLACE:
        twice = int(np.argmin(gaps))
        raise ScanError(
            slices[0].path,
            f"its series of {len(slices)} slices has two at one place ({{one}}, {{other}}): several phases "
            "or echoes in one series; export them separately, or remove one",
            one=slices[twice].label,
            other=slices[twice + 1].label,
        )


def _check_tilt(slices: Sequence[Slice], positions: Float64, normal: Float64) -> None:
    """Refuse slices whose corners shear away from their normal."""
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
    """Say whether the slices are evenly spaced; refuse those that are not, or that nobody can fill in."""
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
