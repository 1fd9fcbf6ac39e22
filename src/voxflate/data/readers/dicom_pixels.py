"""Decodes DICOM pixels with GDCM through SimpleITK, which supports the compressed transfer syntaxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxflate.data.readers.dicom_slices import Slice
from voxflate.data.readers.itk import itk_name, simple_itk
from voxflate.data.readers.refusals import ScanError, unreadable
from voxflate.data.volume import Float32

CT_AIR = -1000.0
"""Hounsfield units of air."""

Padding = tuple[float, float]
"""Smallest and largest rescaled value of padding pixels."""


def decode(path: Path, height: int, width: int) -> Float32:
    """All frames of a file, rescaled, float32 [frames, height, width].

    Raises:
        ScanError: If the file cannot be decoded, or its size differs from its header.
    """
    itk = simple_itk()
    reader = itk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(itk.sitkFloat32)
    reader.GlobalWarningDisplayOff()
    with itk_name((path,)) as name:
        reader.SetFileName(name)
        try:
            pixels: Float32 = itk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise unreadable(path, "DICOM", error) from error
    if pixels.shape[-2:] != (height, width):
        raise ScanError(
            path,
            f"has {pixels.shape[-2]}x{pixels.shape[-1]} pixels, its header says {height}x{width}; export "
            "the series again",
        )
    return pixels.reshape(-1, height, width)


def check_bits(one: Slice) -> None:
    """Refuse pixels whose lowest bit is not the first of their cell; the decoder would read other values.

    Raises:
        ScanError: Gives both numbers.

    Source: DICOM PS3.5, 8.1.1 (the high bit is one less than the bits stored; old editions allowed others).
    """
    stored, high = one.count("BitsStored"), one.count("HighBit")
    if stored and high >= stored:
        raise ScanError(
            one.path,
            f"its pixels have {stored} bits and end at bit {high} (HighBit), expected {stored - 1}: a form "
            "that was retired; export it again, or convert it to NIfTI",
        )


def check_values(one: Slice) -> None:
    """Refuse a rescale that is not a finite number, and pixels without a size: a decoder would guess.

    Raises:
        ScanError: Gives the values.
    """
    names = ("RescaleSlope", "RescaleIntercept")
    said = {name: one.value(name) for name in names if one.value(name) is not None}
    numbers = {name: one.number(name) for name in said}
    if not np.isfinite([*numbers.values()]).all() or numbers.get("RescaleSlope") == 0:
        raise ScanError(
            one.path,
            f"its {' and '.join(said)} {'are' if len(said) > 1 else 'is'} {{said}}, expected finite numbers "
            "and a slope other than 0; correct the header, or export it again",
            said=" and ".join(map(str, said.values())),
        )
    if (one.numbers("PixelSpacing", 2) <= 0).any():
        raise ScanError(
            one.path,
            "its PixelSpacing is {said}, expected two numbers above 0; correct it, or export it again",
            said=one.value("PixelSpacing"),
        )


def padding_of(one: Slice) -> Padding | None:
    """The rescaled padding values that a slice's header declares, if any.

    Source: DICOM PS3.3, C.7.5.1.1.2 (Pixel Padding Value and Pixel Padding Range Limit).
    """
    try:
        stored = [_stored(one, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        slope = float(one.value("RescaleSlope") or 1.0)
        intercept = float(one.value("RescaleIntercept") or 0.0)
    except (TypeError, ValueError):
        return None
    if stored[0] is None:
        return None
    ends = [value * slope + intercept for value in stored if value is not None]
    half = abs(slope) / 2
    return min(ends) - half, max(ends) + half


def _stored(one: Slice, name: str) -> int | None:
    """A padding value in the stored pixel type; some writers omit the sign of signed pixels."""
    value = one.value(name)
    if value is None:
        return None
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = one.count("BitsAllocated", 16)
    signed = one.count("PixelRepresentation") == 1
    number = int(value)
    return number - (1 << bits) if signed and number >= 1 << (bits - 1) else number


def fill_padding(array: Float32, paddings: Sequence[Padding | None], *, is_ct: bool) -> None:
    """Set padding pixels to air, in place.

    Args:
        array: Rescaled slices, [D, H, W].
        paddings: For each slice its padding; empty if none has any.
        is_ct: Whether air is `CT_AIR`; otherwise it is the smallest value of the data.
    """
    if not paddings:
        return
    empty = np.zeros(array.shape, bool)
    for index, padding in enumerate(paddings):
        if padding is not None:
            empty[index] = (array[index] >= padding[0]) & (array[index] <= padding[1])
    if empty.any() and not empty.all():
        array[empty] = CT_AIR if is_ct else array[~empty].min()
