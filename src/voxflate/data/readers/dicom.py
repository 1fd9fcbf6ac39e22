"""DICOM series: slices put in order by where they lie, checked, read.

Order and spacing come from positions along the slice normal, never from file names. A series whose slices
cannot be one box of voxels (gantry tilt, uneven gaps, slices twice) is refused with what was measured;
tilted and uneven ones can be resampled when asked. Pixels are decoded by GDCM through SimpleITK, which knows
the compressed transfer syntaxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxflate.data.readers.dicom_slices import Slice, check_slice
from voxflate.data.readers.itk import simple_itk, world_affine
from voxflate.data.readers.refusals import LARGEST_SHEAR, ScanError, check_grid, unreadable
from voxflate.data.readers.regrid import even_out, even_places
from voxflate.data.volume import Float32, Float64, Geometry, Volume

GAP_SHARE = 0.02
"""Largest difference of a gap between two slices from the median gap, as a share of it."""
LARGEST_GAP = 3.0
"""Largest gap that is filled when asked, in median gaps: what lies in a wider one is not known."""

MODALITIES = ("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "OT")
"""Those that are named in messages; what else the element holds may be anything."""

_SAME_PLACE = 1e-3  # mm


@dataclass(frozen=True)
class Series:
    """One acquisition, its slices in order along their normal.

    Attributes:
        slices: In order: the file and which of its frames.
        geometry: The grid of the voxels; its axes are not at right angles where a tilt was let pass.
        patient: The patient's identifier as the files have it; must not be written anywhere.
        modality: As DICOM names it: CT, MR, PT, ...; OTHER for what it does not name, empty if it is missing.
        places: Position of every slice along the normal, mm, where gaps are uneven and were let pass.
    """

    slices: tuple[tuple[Path, int], ...]
    geometry: Geometry
    patient: str
    modality: str
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
        ScanError: If a slice is no single-channel image with a position, there is only one, or they are
            tilted, unevenly spaced or double; the message has what was measured.
    """
    for one in slices:
        check_slice(one)
    first = slices[0]
    if len(slices) < 2:
        raise ScanError(first.path, "is a series of a single slice, no volume; remove it")
    across, down = first.numbers("ImageOrientationPatient", 6).reshape(2, 3)
    normal = np.cross(across, down)
    positions = np.array([one.numbers("ImagePositionPatient", 3) for one in slices])
    ranks = np.argsort(positions @ normal, kind="stable")
    slices, positions = [slices[rank] for rank in ranks], positions[ranks]
    places = positions @ normal
    _check_twice(slices, places)
    if not regrid:
        _check_tilt(slices, positions, normal)
    even = _check_gaps(slices, places, regrid)
    count = len(slices) if even else even_places(places)
    step = (positions[-1] - positions[0]) / (count - 1)
    row_side, column_side = first.numbers("PixelSpacing", 2)  # distance of rows, then of columns
    sides = np.array([column_side, row_side, 1.0])
    affine = world_affine(np.column_stack([across, down, step]), sides, positions[0])
    check_grid(first.path, affine)
    modality = str(first.value("Modality") or "")
    return Series(
        tuple((one.path, one.frame) for one in slices),
        Geometry((count, first.count("Rows"), first.count("Columns")), affine),
        str(first.value("PatientID") or ""),
        modality if modality in ("", *MODALITIES) else "OTHER",
        None if even else places,
    )


def read_series(series: Series) -> Volume:
    """Decode a series; rescale slope and intercept are applied slice by slice (HU for CT).

    Unevenly spaced slices are interpolated to even ones; a tilt stays in the affine.

    Raises:
        ScanError: If a file cannot be decoded.
    """
    _, height, width = series.geometry.shape
    array = np.empty((len(series.slices), height, width), np.float32)
    path, frames = Path(), array[:0]
    for index, (file, frame) in enumerate(series.slices):
        if file != path:
            path, frames = file, _decode(file, height, width)
        if frame >= len(frames):
            raise ScanError(path, f"holds {len(frames)} frames, its header says more; export it again")
        array[index] = frames[frame]
    if series.places is not None:
        array = even_out(array, series.places)
    return Volume(array, series.geometry.affine)


def _decode(path: Path, height: int, width: int) -> Float32:
    """All frames of a file, float32 [frames, height, width]."""
    itk = simple_itk()
    reader = itk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.SetOutputPixelType(itk.sitkFloat32)
    reader.GlobalWarningDisplayOff()
    try:
        pixels: Float32 = itk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise unreadable(path, "DICOM", error) from error
    if pixels.shape[-2:] != (height, width):
        raise ScanError(
            path,
            f"holds {pixels.shape[-2]}x{pixels.shape[-1]} pixels, its header says {height}x{width}; export "
            "the series again",
        )
    return pixels.reshape(-1, height, width)


def _check_twice(slices: Sequence[Slice], places: Float64) -> None:
    gaps = np.diff(places)
    if gaps.min() < _SAME_PLACE:
        twice = int(np.argmin(gaps))
        raise ScanError(
            slices[0].path,
            f"its series of {len(slices)} slices has two at one place ({{one}}, {{other}}): several phases "
            "or echoes in one series; export them apart, or remove one",
            one=slices[twice].path.name,
            other=slices[twice + 1].path.name,
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
    """Say whether the slices are evenly spaced; refuse those that are not, or that no one can fill in."""
    gaps = np.diff(places)
    median = float(np.median(gaps))
    if np.abs(gaps - median).max() <= GAP_SHARE * median:
        return True
    if regrid and gaps.max() <= LARGEST_GAP * median:
        return False
    advice = (
        f"gaps of more than {LARGEST_GAP:g} medians are not filled in"
        if regrid
        else "resample it with --regrid"
    )
    raise ScanError(
        slices[0].path,
        f"its series of {len(slices)} slices is unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm "
        f"(median {median:.2f}): slices are missing or overlap; {advice}, export it whole, or remove it",
    )
