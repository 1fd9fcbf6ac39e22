"""The headers of single DICOM slices.

A file holds one slice, or, in enhanced DICOM, one slice per frame.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxflate.data.readers.content import head_of, is_dicom_head
from voxflate.data.readers.packed import check_inflated
from voxflate.data.readers.refusals import ScanError, check_claim, unreadable
from voxflate.data.volume import Float64

SUFFIXES = (".dcm", ".ima")

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
    "SeriesDescription",
    "ProtocolName",
    "ImageType",
    "DerivationDescription",
    "EchoTime",
    "InstanceNumber",
    "AcquisitionNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "SamplesPerPixel",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "ModalityLUTSequence",
)
_PIXELS = ((0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x7FE0, 0x0010))
"""Tags of the elements with pixels: as float, as double, as integers."""
_HELD = "bytes of pixels"
"""Key among a slice's elements: how many bytes of pixels its file holds."""
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_FRAME_TAGS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""Further element -> its functional group in enhanced DICOM, shared or per frame."""

_IMAGES = "1.2.840.10008.5.1.4.1.1."
_IN_GROUPS = (
    "2.1", "2.2", "4.1", "4.4", "128.1", "130", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5",
)  # fmt: skip
"""Storage classes whose slope and intercept the decoder takes from functional groups."""
_VOLUME_IMAGES = tuple(f"{_IMAGES}{number}" for number in ("2", "4", "20", "128", "130"))
"""Storage classes of CT, MR, NM and PET; an image of these without a position is damaged."""

SEGMENTATION = "a DICOM segmentation, which is not read: convert it to NIfTI"
CONTOURS = "a DICOM structure set (contours), which is not read: convert it to a NIfTI mask"

_OTHER_OBJECTS = {
    "1.2.840.10008.1.3.10": "index of a disc (DICOMDIR)",
    f"{_IMAGES}4.2": "DICOM spectroscopy",
    f"{_IMAGES}9": "DICOM waveform",
    f"{_IMAGES}11": "DICOM presentation state",
    f"{_IMAGES}66.4": SEGMENTATION,
    f"{_IMAGES}66.5": SEGMENTATION,
    f"{_IMAGES}66.7": SEGMENTATION,
    f"{_IMAGES}66": "DICOM registration or raw data",
    f"{_IMAGES}67": "DICOM value mapping",
    f"{_IMAGES}88": "DICOM report",
    f"{_IMAGES}104": "DICOM document",
    f"{_IMAGES}481.3": CONTOURS,
    f"{_IMAGES}481": "DICOM radiotherapy object",
}
"""Storage class, or its prefix -> what such an object is; the first that fits."""

_LOCALIZER = re.compile(r"locali[sz]er|scout|topogram|surview|\bsurvey\b|plane[ _-]?loc\b", re.IGNORECASE)

_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class Slice:
    """One slice, as described by its header.

    Attributes:
        path: The file.
        elements: Keyword -> value of those DICOM elements that are needed.
        compressed: Whether its pixels are compressed.
        frame: Index of its frame in the file; 0 in a file with one slice.
    """

    path: Path
    elements: Mapping[str, Any]
    compressed: bool
    frame: int = 0

    def value(self, name: str) -> Any:
        """An element's value; None if it is missing or empty."""
        value = self.elements.get(name)
        return None if value is None or value == "" else value

    def text(self, name: str) -> str:
        """An element's value as text; empty if it is missing."""
        value = self.value(name)
        return "" if value is None else str(value).strip()

    @property
    def label(self) -> str:
        """The slice's name in messages: its file, and its frame if the file has several."""
        return self.path.name if not self.frame else f"frame {self.frame + 1} of {self.path.name}"

    def number(self, name: str) -> float:
        """An element's value as a number; NaN if it is missing or not a number."""
        try:
            return float(self.value(name))
        except (TypeError, ValueError):
            return float("nan")

    def count(self, name: str, default: int = 0) -> int:
        """An element's value as an integer; `default` if it is missing.

        Raises:
            ScanError: If it is not an integer.
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
        """An element's value as `count` numbers.

        Raises:
            ScanError: If it is missing or not `count` numbers.
        """
        value = self.value(name)
        try:
            found = np.array([float(part) for part in value], np.float64)
        except (TypeError, ValueError):
            found = np.empty(0)
        if len(found) != count or not np.isfinite(found).all():
            raise ScanError(
                self.path,
                f"has no usable {name} ({{found}}), so the position of its pixels is unknown and not "
                "guessed; export the series again, or remove it",
                found=value,
            )
        return found


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, by its suffix or its first bytes.

    Raises:
        OSError: If it cannot be read.
    """
    return path.name.lower().endswith(SUFFIXES) or is_dicom_head(head_of(path))


def read_slices(path: Path) -> list[Slice]:
    """Read the needed part of a file's header: one slice, or one per frame.

    Raises:
        ScanError: If the file cannot be read, or has frames without a position.
    """
    import pydicom  # here, because most preparations have no DICOM and need not wait for the import

    try:
        check_inflated(path, _DEFLATED)
        # Values are converted on access, and pydicom warns of odd ones then.
        with pydicom.config.disable_value_validation():
            tags = [*_TAGS, *_FRAME_TAGS, _SHARED, _PER_FRAME]
            with path.open("rb") as file:
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags, force=True)
                held = _pixel_bytes(file, header)
            meta = header.file_meta
            syntax = meta.get("TransferSyntaxUID") or (header.original_encoding and _native(header))
            compressed = syntax is None or syntax == _DEFLATED or pydicom.uid.UID(syntax).is_compressed
            elements = {name: header.get(name) for name in (*_TAGS, *_FRAME_TAGS)} | {_HELD: held}
            elements["SOPClassUID"] = elements["SOPClassUID"] or meta.get("MediaStorageSOPClassUID")
            frames = _frames(header)
    except Exception as error:  # a damaged file makes the parser raise anything
        raise unreadable(path, "DICOM", error) from error
    one = Slice(path, elements, compressed)
    if not any(one.value(name) for name in ("SOPClassUID", "Rows", "Modality")):
        raise unreadable(path, "DICOM", ValueError("it has no image elements"))
    count = one.count("NumberOfFrames", 1)
    if (count <= 1 and not frames) or (not frames and not_a_scan(one)):
        return [one]
    return _enhanced(one, count, frames)


def not_a_scan(one: Slice) -> str:
    """Describe a DICOM object that is not part of a scan; empty for a slice.

    Every export has reports, disc indexes, screenshots and the like beside its scans.
    """
    sop_class = one.text("SOPClassUID")
    for prefix, what in _OTHER_OBJECTS.items():
        if sop_class == prefix or sop_class.startswith(f"{prefix}."):
            return what
    placed = one.value("ImagePositionPatient") is not None
    if sop_class.startswith(_IMAGES) and not placed and not sop_class.startswith(_VOLUME_IMAGES):
        return "DICOM picture without a position in the body (radiograph, ultrasound, screenshot)"
    image_type = one.value("ImageType")
    words = [image_type] if isinstance(image_type, str) else list(image_type or ())
    if "LOCALIZER" in map(str, words) or _LOCALIZER.search(one.text("SeriesDescription")):
        return "DICOM localizer"
    return ""


def check_slice(one: Slice) -> None:
    """Refuse anything but a single-channel image.

    Raises:
        ScanError: Says what it is.
    """
    samples, kind = one.count("SamplesPerPixel", 1), one.value("PhotometricInterpretation")
    if not one.count("Rows") or not one.count("Columns"):
        raise ScanError(one.path, "is DICOM without an image; remove it")
    if samples != 1 or kind not in (None, "MONOCHROME2"):
        expected = "expected 1 and MONOCHROME2; convert it, or remove it"
        found = f"SamplesPerPixel is {samples} and PhotometricInterpretation {{kind}}, {expected}"
        raise ScanError(one.path, found, kind=kind)
    if one.value("ModalityLUTSequence"):
        raise ScanError(
            one.path,
            "maps its values by a table (Modality LUT), which is not supported; export it with "
            "rescale slope and intercept, or convert it to NIfTI",
        )
    _check_size(one, one.count("NumberOfFrames", 1))


def _pixel_bytes(file: BinaryIO, header: Any) -> int:
    """Bytes of pixels in a file that is open at the pixel element; 0 if there is none.

    A decoder makes up pixels that are missing at the end.
    """
    implicit, little = header.original_encoding
    start, order = file.read(12), "little" if little else "big"
    tag = tuple(int.from_bytes(start[at : at + 2], order) for at in (0, 2))  # type: ignore[arg-type]
    if tag not in _PIXELS:
        return 0
    length = int.from_bytes(start[4:8] if implicit else start[8:12], order)  # type: ignore[arg-type]
    begin = file.tell() - (4 if implicit else 0)
    return max(0, min(length, os.fstat(file.fileno()).st_size - begin))


def _native(header: Any) -> str | None:
    """The transfer syntax that the parser detected in a file without file meta information."""
    implicit, little = header.original_encoding
    if implicit is None or little is None:
        return None
    return "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"


def _frames(header: Any) -> list[dict[str, Any]]:
    """Elements of each frame of enhanced DICOM; its own override the shared ones."""
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
            f"has {count} frames and gives the position of {len(frames)} (a film, or damaged); convert it "
            "to NIfTI, or export it as one file per slice",
        )
    rescales = {(str(frame["RescaleSlope"]), str(frame["RescaleIntercept"])) for frame in frames}
    if len(rescales) > 1:  # the decoder applies the first to all
        raise ScanError(
            one.path,
            f"has {count} frames with {len(rescales)} different slopes and intercepts, which are only read "
            "from single slices; convert it to NIfTI, or export it as one file per slice",
        )
    slope, intercept = (frames[0][name] for name in ("RescaleSlope", "RescaleIntercept"))
    if one.text("SOPClassUID").removeprefix(_IMAGES) not in _IN_GROUPS and (
        slope not in (None, 1) or intercept not in (None, 0)
    ):
        raise ScanError(
            one.path,
            "is DICOM of a class whose slope and intercept in functional groups are not supported; convert "
            "it to NIfTI, or export it as one file per slice",
        )
    _check_size(one, count)
    own = [{name: value for name, value in frame.items() if value is not None} for frame in frames]
    return [
        Slice(one.path, {**one.elements, **frame}, one.compressed, index) for index, frame in enumerate(own)
    ]


def _check_size(one: Slice, frames: int) -> None:
    """Refuse a header that claims more pixels than its file can hold, before memory is taken for them."""
    pixels = one.count("Rows") * one.count("Columns") * frames
    claimed = pixels * one.count("BitsAllocated", 8) // 8
    if one.compressed:
        return
    check_claim(one.path, claimed, packed=False)
    held = one.elements.get(_HELD, claimed)
    if held < claimed:
        raise ScanError(
            one.path,
            f"is cut short or damaged: its header claims {claimed:,} bytes of pixels, it has {held:,}; "
            "replace or remove it",
        )
