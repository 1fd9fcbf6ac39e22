import re

import numpy as np
import pytest
from PIL import Image

from voxflate.drawing.sheets import COLOURS, curves, for_dark_pages, sample_sheet, slice_sheet
from voxflate.metrics import centre_slices

SHAPE = (4, 8, 8)
TILE = 112  # 8 voxels of 14 pixels


def size_of(path):
    with Image.open(path) as sheet:
        return sheet.size


def tiles(path, rows, columns):
    """Grey tiles of a sheet without a title whose tiles are all TILE wide and high, [row][column]."""
    with Image.open(path) as opened:
        sheet = np.asarray(opened.convert("L"))
    left, top = sheet.shape[1] - 16 - columns * (TILE + 4) + 4, 16
    return [
        [
            sheet[top + r * (TILE + 4) :, left + c * (TILE + 4) :][:TILE, :TILE].astype(int)
            for c in range(columns)
        ]
        for r in range(rows)
    ]


def test_planes_stand_upright_at_their_physical_aspect(tmp_path):
    volumes = np.random.default_rng(0).uniform(-1, 1, (3, 1, *SHAPE)).astype(np.float32)
    path = tmp_path / "sheet.png"
    sample_sheet(volumes, path, spacing=(2.0, 1.0, 1.0))
    drawn = tiles(path, 3, 3)
    slices = centre_slices(volumes)
    for row, plane in enumerate(("ax", "cor", "sag")):
        for column in range(3):
            image = slices[plane][column, 0]
            height, width = TILE // image.shape[0], TILE // image.shape[1]
            voxels = drawn[row][column][height // 2 :: height, width // 2 :: width]
            # The last index of the first axis (superior, or anterior) is the top row.
            np.testing.assert_allclose(voxels, (image[::-1] + 1) * 127.5, atol=0.51)


def test_values_outside_the_range_are_clipped(tmp_path):
    volumes = np.full((1, 1, 8, 8, 8), 5.0, np.float32)
    volumes[:, :, :, :, :4] = -5
    sample_sheet(volumes, tmp_path / "sheet.png")
    axial = tiles(tmp_path / "sheet.png", 3, 1)[0][0]
    assert set(np.unique(axial)) == {0, 255}
    assert (axial[:, : TILE // 2] == 0).all()


def test_no_more_columns_than_asked_for(tmp_path):
    volumes = np.zeros((9, 1, *SHAPE), np.float32)
    widths = []
    for columns in (2, 4):
        sample_sheet(volumes, tmp_path / "sheet.png", columns=columns)
        widths.append(size_of(tmp_path / "sheet.png")[0])
    assert widths[1] - widths[0] == 2 * (TILE + 4)


def test_a_long_title_is_wrapped_not_cut(tmp_path):
    volumes = np.zeros((2, 1, *SHAPE), np.float32)
    sizes = []
    for title in (None, "short", "a title that is much longer than two small volumes side by side are wide"):
        sample_sheet(volumes, tmp_path / "sheet.png", title)
        sizes.append(size_of(tmp_path / "sheet.png"))
    assert len({width for width, _ in sizes}) == 1
    heights = [height for _, height in sizes]
    assert heights[0] < heights[1] < heights[2]


def test_images_fill_rows(tmp_path):
    images = np.linspace(-1, 1, 5, dtype=np.float32)[:, None, None, None] * np.ones((5, 1, 8, 8), np.float32)
    slice_sheet(images, tmp_path / "sheet.png", columns=3)
    drawn = tiles(tmp_path / "sheet.png", 2, 3)
    shades = [int(tile[5, 5]) for row in drawn for tile in row]
    assert shades[:5] == [0, 64, 128, 191, 255]


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_curves_draw_runs_of_any_length(tmp_path, suffix):
    path = tmp_path / f"curves{suffix}"
    series = {"none": [(0, 500.0), (1, 300.0)], "one point": [(0, 400.0)], "no point": []}
    curves(series, path, "distance", floor=20.0, log=True)
    assert path.stat().st_size > 1000
    first = path.read_bytes()
    curves(series, path, "distance", floor=20.0, log=True)
    assert path.read_bytes() == first


def test_curves_for_dark_pages_have_light_ink_and_the_same_lines(tmp_path):
    curves({"run": [(0, 500.0), (1, 300.0)]}, tmp_path / "curves.svg", "distance", floor=20.0)
    light = (tmp_path / "curves.svg").read_text()
    dark = for_dark_pages(light)
    inks = [set(re.findall("#[0-9a-f]{6}", one)) for one in (light, dark)]
    assert inks[0] - inks[1] == {"#3a434e"}
    assert inks[1] - inks[0] == {"#c9d1da"}
    assert COLOURS[0] in inks[0] & inks[1]


def test_curves_without_any_point_are_empty_axes(tmp_path):
    curves({}, tmp_path / "curves.png", "distance")
    assert (tmp_path / "curves.png").exists()


def test_a_mask_is_laid_over_the_images_in_colour(tmp_path):
    """Side by side, each with the mask: grey where there is none, a mixture of grey and colour inside."""
    volumes = np.full((2, 2, *SHAPE), -1.0, np.float32)
    volumes[:, 1] = 1.0
    classes = np.zeros((2, *SHAPE), int)
    classes[0, :, 0, :] = 1  # the lowest row of the axial slice
    classes[0, :, 7, :] = 2
    sample_sheet(volumes, tmp_path / "sheet.png", spacing=(2.0, 1.0, 1.0), classes=classes)
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.asarray(opened.convert("RGB")).astype(int)
    left = sheet.shape[1] - 16 - 2 * (2 * TILE + 4) + 4
    axial = sheet[16 : 16 + TILE, left : left + 2 * TILE]
    black, white = axial[:, :TILE], axial[:, TILE:]
    assert (black[20:-20] == 0).all()
    assert (white[20:-20] == 255).all()
    first, second = black[-1, 0], black[0, 0]
    for grey, part in ((0, black), (255, white)):
        for row, colour in ((-1, (0, 114, 178)), (0, (213, 94, 0))):
            np.testing.assert_allclose(part[row, 5], 0.6 * grey + 0.4 * np.array(colour), atol=1)
    assert not np.array_equal(first, second)
    other = sheet[16 : 16 + TILE, left + 2 * TILE + 4 :][:, :TILE]
    assert (other == 0).all()


def test_images_of_two_dimensions_have_their_masks_too(tmp_path):
    images, classes = np.full((3, 1, 8, 8), -1.0, np.float32), np.zeros((3, 8, 8), int)
    classes[1] = 1
    slice_sheet(images, tmp_path / "sheet.png", classes=classes)
    with Image.open(tmp_path / "sheet.png") as opened:
        colours = {colour for _, colour in opened.convert("RGB").getcolors()}
    assert colours >= {(0, 0, 0), (0, 46, 71)}
