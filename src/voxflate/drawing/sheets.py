"""Sheets of slices, and curves over training.

Slices are drawn in the usual orientation: superior (coronal, sagittal) or anterior (axial) up, the
subject's left on the left (neurological convention), in physical proportions, one voxel per rectangle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from voxflate._system.files import whole_file

_TILE = 112  # preferred height or width of the largest slice, pixels
_GAP = 4
_MARGIN = 16
_FONT_SIZE = 15
_BACKGROUND = (14, 17, 22)
_INK = (214, 219, 226)
_DARK_INK, _LIGHT_INK = "#3a434e", "#c9d1da"  # of curves, for a light or dark page
_OVERLAY = 0.4  # opacity of a mask's colours
# Rows of a sheet: plane, the fixed axis (of D, H, W), and the axes that go down and across.
_ROWS = (("axial", 0, 1, 2), ("coronal", 1, 0, 2), ("sagittal", 2, 0, 1))
# In the order of series; distinct for all kinds of colour vision (after Okabe and Ito), on white and black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = "os^Dv<"

Classes = NDArray[np.integer]


def sample_sheet(
    volumes: NDArray[np.floating],
    path: str | Path,
    title: str | None = None,
    columns: int = 8,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    classes: Classes | None = None,
) -> None:
    """Draw the axial, coronal and sagittal centre slices of volumes, one column per volume.

    Args:
        volumes: [n, M, D, H, W] in [-1, 1]; values outside are clipped. The first `columns` are drawn, the M
            images of each side by side.
        path: PNG to write.
        title: Title line; long ones are wrapped.
        columns: Largest number of volumes.
        spacing: Voxel sides, mm, order D, H, W.
        classes: Classes of a mask, drawn over the images in colour, [n, D, H, W]; 0 is background.
    """
    shown = volumes[:columns]
    extent = [size * side for size, side in zip(shown.shape[2:], spacing, strict=True)]
    # A whole number of pixels for the smallest voxel side, so that all voxels are drawn equally large.
    pixels_per_mm = max(1, round(_TILE / max(extent) * min(spacing))) / min(spacing)
    rows = []
    for name, fixed, down, across in _ROWS:
        size = [max(1, round(spacing[axis] * pixels_per_mm)) for axis in (down, across)]
        centre = shown.shape[2 + fixed] // 2
        over = None if classes is None else classes.take(centre, 1 + fixed)
        rows.append((name, _tiles(shown.take(centre, 2 + fixed), over, size)))
    _write_sheet(rows, path, title)


def slice_sheet(
    images: NDArray[np.floating],
    path: str | Path,
    title: str | None = None,
    columns: int = 8,
    spacing: Sequence[float] = (1.0, 1.0),
    classes: Classes | None = None,
) -> None:
    """Draw 2D images row by row.

    Args:
        images: [n, M, H, W] in [-1, 1]; values outside are clipped. All are drawn, M side by side.
        path: PNG to write.
        title: Title line; long ones are wrapped.
        columns: Images per row.
        spacing: Pixel sides, mm, order H, W.
        classes: Classes of a mask, drawn over the images in colour, [n, H, W]; 0 is background.
    """
    extent = [size * side for size, side in zip(images.shape[2:], spacing, strict=True)]
    pixels_per_mm = max(1, round(_TILE / max(extent) * min(spacing))) / min(spacing)
    size = [max(1, round(side * pixels_per_mm)) for side in spacing]
    tiles = _tiles(images, classes, size)
    rows = [("", tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    _write_sheet(rows, path, title)


def resolution_sheet(
    sets: Mapping[str, tuple[NDArray[np.floating], Sequence[float]]],
    path: str | Path,
    title: str | None = None,
    columns: int = 6,
) -> None:
    """Draw the axial centre slices of sets of different voxel sizes, one row per set (the paper's Fig. 6).

    Args:
        sets: Label -> volumes [n, 1, D, H, W] in [-1, 1], and their voxel sides, mm, order D, H, W. Every set
            is drawn at about the same scale in millimetres, one voxel per rectangle.
        path: PNG to write.
        title: Title line.
        columns: Largest number of volumes in a row.
    """
    rows = []
    for label, (volumes, spacing) in sets.items():
        extent = max(volumes.shape[3] * spacing[1], volumes.shape[4] * spacing[2])
        pixels_per_mm = max(1, round(2 * _TILE / extent * min(spacing[1:]))) / min(spacing[1:])
        height, width = (max(1, round(side * pixels_per_mm)) for side in spacing[1:])
        slices = volumes[:columns, 0, volumes.shape[2] // 2]
        rows.append((label, [_tile(image, height, width) for image in slices]))
    _write_sheet(rows, path, title)


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    path: str | Path,
    ylabel: str,
    floor: float | None = None,
    log: bool = False,
    floor_label: str = "real vs real",
) -> None:
    """Draw values over training, one line per run.

    Args:
        series: Label -> points (kimg, value); a run without points keeps its colour and is not drawn.
        path: PNG or SVG to write, by its suffix; transparent, so that it suits any page.
        ylabel: Name of the values, with their unit.
        floor: Value of the real set, a dashed line.
        log: Whether the axis of values is logarithmic.
        floor_label: Label of the dashed line.
    """
    style: Any = {  # matplotlib 3.11 has a type for these keys, older versions do not
        "axes.edgecolor": _DARK_INK,
        "axes.labelcolor": _DARK_INK,
        "font.size": 10,
        "svg.hashsalt": "voxflate",
        "text.color": _DARK_INK,
        "xtick.color": _DARK_INK,
        "ytick.color": _DARK_INK,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for index, (label, points) in enumerate(series.items()):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            if points:
                kimg, values = zip(*sorted(points), strict=True)
                axes.plot(kimg, values, marker=marker, color=colour, label=label, linewidth=1.8, markersize=4)
        if floor is not None:
            axes.axhline(floor, color=_DARK_INK, linestyle=(0, (5, 4)), linewidth=1.2, label=floor_label)
        _finish(axes, ylabel, log)
        options = {"metadata": {"Date": None}} if Path(path).suffix == ".svg" else {"dpi": 144}
        with whole_file(path) as temporary:
            figure.savefig(temporary, transparent=True, **options)


def for_dark_pages(svg: str) -> str:
    """Recolour the curves with light ink; drawing them again would take twice the time."""
    return svg.replace(_DARK_INK, _LIGHT_INK)


def _finish(axes: Axes, ylabel: str, log: bool) -> None:
    """Add labels, scale, grid and a legend above the axes, where it cannot hide a line."""
    axes.set_xlabel("training, kimg (thousands of real images shown)")
    axes.set_ylabel(ylabel)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = max(1, 72 // (6 + max(map(len, labels))))  # as many as fit the width of the figure
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False)


def _tiles(images: NDArray[np.floating], classes: Classes | None, size: Sequence[int]) -> list[Image.Image]:
    """Tiles of images [n, M, H, W], the M images side by side; each pixel becomes `size` pixels."""
    tiles = []
    for number, channels in enumerate(images):
        over = None if classes is None else classes[number]
        parts = [_tile(image, size[0], size[1], over) for image in channels]
        tile = Image.new(parts[0].mode, (sum(part.width for part in parts), parts[0].height))
        for index, part in enumerate(parts):
            tile.paste(part, (index * part.width, 0))
        tiles.append(tile)
    return tiles


def _tile(
    image: NDArray[np.floating], height: int, width: int, classes: Classes | None = None
) -> Image.Image:
    """A slice as a grey tile, its first axis upwards, `height` x `width` pixels per voxel.

    The classes of a mask, [H, W], are drawn over it in their colours.
    """
    pixels = np.clip((image[::-1] + 1) * 127.5, 0, 255).round().astype(np.uint8)
    if classes is not None:
        palette = np.array([ImageColor.getrgb(colour) for colour in COLOURS])
        inside, colour = classes[::-1, :, None] > 0, palette[(classes[::-1] - 1) % len(palette)]
        grey = pixels[..., None].repeat(3, axis=2)
        pixels = np.where(inside, (1 - _OVERLAY) * grey + _OVERLAY * colour, grey).round().astype(np.uint8)
    return Image.fromarray(pixels.repeat(height, axis=0).repeat(width, axis=1))


def _write_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], path: str | Path, title: str | None
) -> None:
    """Arrange rows of tiles, each with its name on the left, under a title, and write a PNG."""
    font = ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), _FONT_SIZE)
    label = max(round(font.getlength(name)) for name, _ in rows)
    left = _MARGIN + (label + _MARGIN if label else 0)
    cell = max(tile.width for _, tiles in rows for tile in tiles) + _GAP
    width = left + cell * max(len(tiles) for _, tiles in rows) - _GAP + _MARGIN
    lines = _wrapped(title, font, width - 2 * _MARGIN) if title else []
    line_height = round(_FONT_SIZE * 1.4)
    top = _MARGIN + len(lines) * line_height + (_MARGIN // 2 if lines else 0)
    height = top + sum(tiles[0].height + _GAP for _, tiles in rows) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + index * line_height), line, fill=_INK, font=font)
    for name, tiles in rows:
        draw.text((_MARGIN, top + tiles[0].height / 2), name, fill=_INK, font=font, anchor="lm")
        for column, tile in enumerate(tiles):
            # A narrower plane is centred in its column.
            sheet.paste(tile, (left + column * cell + (cell - _GAP - tile.width) // 2, top))
        top += tiles[0].height + _GAP
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG")


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break a text into lines no wider than `width` pixels; a longer single word stays whole."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
