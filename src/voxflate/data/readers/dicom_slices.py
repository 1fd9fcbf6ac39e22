"""Single slices of DICOM: what their headers say, and which of them belong together.

A file holds one slice, or, in enhanced DICOM, one slice a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxflate.data.readers.refusals import ScanError, check_claim, unreadable
from voxflate.data.volume import Float64

SUFFIXES = (".dcm", ".ima")

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
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_FRAME_TAGS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""Element -> the functional group that holds it in enhanced DICOM, for all frames or for each."""


@dataclass(frozen=True)
class Slice:
    """What a header says about one slice.

    Attributes:
        path: The file.
        elements: Keyword -> value of its DICOM elements, as far as they are needed.
        compressed: Say whether its pixels are.
        frame: Which frame of the file it is; 0 in a file of one slice.
    """

    path: Path
    elements: Mapping[str, Any]
    compressed: bool
    frame: int = 0

    def value(self, name: str) -> Any:
        """An element's value, None where it is missing or empty."""
        value = self.elements.get(name)
        return None if value is None or value == "" else value

    def count(self, name: str, default: int = 0) -> int:
        """An element that is one whole number, `default` where it is missing.

        Raises:
            ScanError: If it is something else.
        """
        value = self.value(name)
        try:
            return default if value is None else int(value)
        except (TypeError, ValueError) as error:
            raise ScanError(
                self.path,
                f"its {name} is {{found}}, expected a whole number; export it again",
                found=repr(str(value)[:40]),
            ) from error

    def numbers(self, name: str, count: int) -> Float64:
        """An element of `count` numbers.

        Raises:
            ScanError: If it is missing or is something else.
        """
        value = self.value(name)
        try:
            found = np.array([float(part) for part in value], np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise ScanError(
                self.path,
                f"has no usable {name} ({{found}}), so where its pixels lie is unknown and is never guessed; "
                "export the series again, or remove it",
                found=value,
            )
        return found


def is_dicom(path: Path) -> bool:
    """Say whether a file is DICOM, by its suffix or by the mark at byte 128."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    with open(path, "rb") as file:
        return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def read_slices(path: Path) -> list[Slice]:
    """Read what is needed of a file's header: one slice, or one a frame.

    Raises:
        ScanError: If it is no DICOM image, or holds frames that do not say where they lie.
    """
    import pydicom  # here, because most preparations see no DICOM and need not wait for it

    try:
        # Values are converted when they are asked for, and odd ones are warned of then.
        with pydicom.config.disable_value_validation():
            tags = [*_TAGS, _SHARED, _PER_FRAME]
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            syntax = header.file_meta.get("TransferSyntaxUID")
            compressed = syntax is None or pydicom.uid.UID(syntax).is_compressed
            elements = {name: header.get(name) for name in _TAGS}
            frames = _frames(header)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "DICOM", error) from error
    one = Slice(path, elements, compressed)
    count = one.count("NumberOfFrames", 1)
    if count <= 1 and not frames:
        return [one]
    return _enhanced(one, count, frames)


def _frames(header: Any) -> list[dict[str, Any]]:
    """Elements of each frame of enhanced DICOM, its own before those that all share."""
    shared: Any = next(iter(header.get(_SHARED) or ()), {})
    return [
        {name: _in_group(frame, name, _in_group(shared, name, None)) for name in _FRAME_TAGS}
        for frame in header.get(_PER_FRAME) or ()
    ]


def _in_group(groups: Any, name: str, default: Any) -> Any:
    sequence = groups.get(_FRAME_TAGS[name])
    return sequence[0].get(name, default) if sequence else default


def _enhanced(one: Slice, count: int, frames: list[dict[str, Any]]) -> list[Slice]:
    if len(frames) != count:
        raise ScanError(
            one.path,
            f"holds {count} frames and says of {len(frames)} where they lie (a film, or damaged); convert it "
            "to NIfTI, or export it as one file a slice",
        )
    rescales = {(str(frame.pop("RescaleSlope")), str(frame.pop("RescaleIntercept"))) for frame in frames}
    if len(rescales) > 1:  # the decoder applies the first to all
        raise ScanError(
            one.path,
            f"holds {count} frames with {len(rescales)} different slopes and intercepts, which are read only "
            "from single slices; convert it to NIfTI, or export it as one file a slice",
        )
    _check_size(one, count)
    return [
        Slice(one.path, {**one.elements, **frame}, one.compressed, index)
        for index, frame in enumerate(frames)
    ]


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


def check_slice(one: Slice) -> None:
    """Refuse what is no single-channel image.

    Raises:
        ScanError: Says what it is.
    """
    samples, kind = one.count("SamplesPerPixel", 1), one.value("PhotometricInterpretation")
    if not one.count("Rows") or not one.count("Columns"):
        raise ScanError(one.path, "is DICOM without an image; remove it")
    if samples != 1 or kind not in (None, "MONOCHROME2"):
        raise ScanError(
            one.path, f"is a {{kind}} picture of {samples} channels, no scan; remove it", kind=kind
        )
    _check_size(one, one.count("NumberOfFrames", 1))


def _check_size(one: Slice, frames: int) -> None:
    """Refuse a header that claims more pixels than its file can hold, before memory is taken for them."""
    if one.compressed:
        return
    pixels = one.count("Rows") * one.count("Columns") * frames
    check_claim(one.path, pixels * one.count("BitsAllocated", 8) // 8, packed=False)
