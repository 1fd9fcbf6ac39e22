"""A picture of one prepared volume: three planes of each image, and the mask over the first."""

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
"""Of the classes of a mask in turn, RGB."""

_LONGEST = 96  # pixels along the longest side of the field of view
_GAP = 4
_OPACITY = 0.55


def picture(channels: Int16, spacing: Triple, images: int) -> bytes:
    """Axial, coronal and sagittal slice in a row, in proportion; up is anterior or superior.

    A row per image shows its middle slices. Where there is a mask, a last row shows the first image under it,
    through the middle of what is marked. The subject's left is on the left, as in the sample sheets.

    Args:
        channels: int16 [C, D, H, W] as stored.
        spacing: Voxel sides, mm, D, H, W.
        images: How many of the channels are images.

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
    """The slices through a place, [D, H, W], turned as they are shown."""
    depth, height, width = place
    return [volume[depth, ::-1], volume[::-1, height], volume[::-1, :, width]]


def _tile(plane: npt.NDArray[np.int16], size: tuple[int, int]) -> Image.Image:
    grey = ((plane.astype(np.int32) + FULL_SCALE) * 255 // (2 * FULL_SCALE)).astype(np.uint8)
    return Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)


def _marked(image: Int16, classes: Int16, sizes: Sequence[tuple[int, int]]) -> list[Image.Image]:
    """Slices of an image with the classes of its mask coloured over it, each as far as it has the voxel."""
    shares = classes.max(axis=0).astype(np.float64) + FULL_SCALE
    total = shares.sum() or 1.0
    place = []
    for axis, side in enumerate(shares.shape):
        along = shares.sum(axis=tuple(other for other in range(3) if other != axis))
        place.append(round(float(along @ np.arange(side)) / total) if shares.any() else side // 2)
    tiles = []
    seen = [_planes(one, place) for one in classes]
    for number, (plane, size) in enumerate(zip(_planes(image, place), sizes, strict=True)):
        tile = _tile(plane, size).convert("RGB")
        for index, planes in enumerate(seen):
            share = np.asarray(_tile(planes[number], size), np.float32) * _OPACITY
            colour = Image.new("RGB", size, COLOURS[index % len(COLOURS)])
            tile.paste(colour, (0, 0), Image.fromarray(share.astype(np.uint8)))
        tiles.append(tile)
    return tiles
