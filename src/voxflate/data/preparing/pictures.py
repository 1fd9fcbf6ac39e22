"""Draws a prepared volume: three planes of each image, and the mask over the first image."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from voxflate.data.prepared import FULL_SCALE, Int16
from voxflate.data.volume import Triple

Pixels = npt.NDArray[np.uint8]

COLOURS = (
    (230, 97, 60),
    (64, 176, 235),
    (250, 204, 60),
    (140, 100, 230),
    (70, 190, 110),
    (235, 120, 190),
    (150, 110, 70),
    (90, 220, 210),
)
"""Colours of a mask's classes, cyclic, RGB."""

_LONGEST = 96  # pixels along the longest side of the field of view
_GAP = 4
_OPACITY = 0.55


def picture(channels: Int16, spacing: Triple, images: int) -> bytes:
    """Axial, coronal and sagittal slice in a row, in proportion; up is anterior or superior.

    Each image has a row with its middle slices. If there is a mask, a last row shows it over the first image,
    through the middle of the marked voxels. The subject's left is on the left, as in the sample sheets.

    Args:
        channels: int16 [C, D, H, W] as stored.
        spacing: Voxel sides, mm, D, H, W.
        images: Number of channels that are images.

    Returns:
        A JPEG file.
    """
    shape = channels.shape[1:]
    extent = [n * mm for n, mm in zip(shape, spacing, strict=True)]
    scale = _LONGEST / max(extent)
    depth, height, width = (max(1, round(side * scale)) for side in extent)
    sizes = [(width, height), (width, depth), (height, depth)]
    middle = [n // 2 for n in shape]
    rows = [
        [_tile(plane, size) for plane, size in zip(_planes(one, middle), sizes, strict=True)]
        for one in channels[:images]
    ]
    mode = "L"
    if len(channels) > images:
        mode = "RGB"
        rows.append(_marked(channels[0], channels[images:], sizes))
    high = max(height, depth)
    sheet = Image.new(mode, (2 * width + height + 2 * _GAP, len(rows) * (high + _GAP) - _GAP))
    for number, row in enumerate(rows):
        left = 0
        for tile in row:
            sheet.paste(tile, (left, number * (high + _GAP) + (high - tile.height) // 2))
            left += tile.width + _GAP
    content = io.BytesIO()
    sheet.save(content, "JPEG", quality=85)
    return content.getvalue()


def _planes(volume: npt.NDArray[np.int16], place: Sequence[int]) -> list[npt.NDArray[np.int16]]:
    """The slices through a voxel, [D, H, W], oriented as shown."""
    depth, height, width = place
    return [volume[depth, ::-1], volume[::-1, height], volume[::-1, :, width]]


def _tile(plane: npt.NDArray[np.int16], size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(_bytes(plane)).resize(size, Image.Resampling.BILINEAR)


def _bytes(stored: npt.NDArray[np.int16]) -> Pixels:
    """Stored values as 0 to 255."""
    return ((stored.astype(np.int32) + FULL_SCALE) * 255 // (2 * FULL_SCALE)).astype(np.uint8)


def _marked(image: Int16, classes: Int16, sizes: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """Slices of an image, coloured by the classes of its mask in proportion to their share."""
    place = _middle_of(_bytes(classes).max(axis=0))
    colours = np.array([COLOURS[index % len(COLOURS)] for index in range(len(classes))], np.float32)
    marks = [np.stack(planes) for planes in zip(*(_planes(one, place) for one in classes), strict=True)]
    tiles = []
    for plane, mark, size in zip(_planes(image, place), marks, sizes, strict=True):
        shares = _bytes(mark).astype(np.float32) * (_OPACITY / 255)
        covered = np.minimum(shares.sum(axis=0), 1)[..., None]
        coloured = _bytes(plane)[..., None] * (1 - covered) + np.tensordot(shares, colours, (0, 0))
        pixels = np.clip(coloured, 0, 255).astype(np.uint8)
        tiles.append(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return tiles


def _middle_of(marked: Pixels) -> list[int]:
    """The middle of the marked voxels, [D, H, W]; the middle of the volume if none is marked."""
    if not marked.any():
        return [side // 2 for side in marked.shape]
    across = marked.sum(axis=2, dtype=np.float64)
    sums = across.sum(axis=1), across.sum(axis=0), marked.sum(axis=(0, 1), dtype=np.float64)
    return [round(float(along @ np.arange(len(along)) / along.sum())) for along in sums]
