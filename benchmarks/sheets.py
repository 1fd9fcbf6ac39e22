"""Combines the sample sheets of several runs: a row per run, a column per kimg.

    python -m benchmarks.sheets RUN RUN ... --kimg 0 4 --out docs/images/samples.png
    python -m benchmarks.sheets RUN --kimg 4 --whole --real DATA --out docs/images/samples.png

Nothing is chosen by eye: a cell is the left part of the sheet that the run wrote at that snapshot, or all of
it; real volumes are the first ones of the training set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import parser_of
from PIL import Image

from voxflate.data.channels import pictured
from voxflate.data.prepared import open_prepared
from voxflate.drawing.sheets import sample_sheet

SHARE = 0.533  # labels and the first four of eight samples
GAP = 12


def sheet_at(run: Path, kimg: float) -> Path:
    """The sheet that a run wrote at this kimg."""
    sheets = {float(path.stem.split("-")[1]): path for path in (run / "sheets").glob("kimg-*.png")}
    if kimg not in sheets:
        raise SystemExit(
            f"{run}: has no sheet at {kimg:g} kimg, only at {', '.join(map(str, sorted(sheets)))}"
        )
    return sheets[kimg]


def real_sheet(data: Path, path: Path) -> Path:
    """Draw the first volumes of a prepared training set."""
    prepared = open_prepared(data)
    images, classes = pictured(prepared.volumes("train", range(8)), prepared.layout)
    title = "real volumes of the training set"
    sample_sheet(images, path, title=title, spacing=prepared.spacing, classes=classes)
    return path


def page_of(sheets: Sequence[Sequence[Path]], share: float = SHARE) -> Image.Image:
    """Rows of sheets on one page, only the left part of each."""
    cells: list[list[Image.Image]] = []
    for row in sheets:
        cells.append([])
        for path in row:
            with Image.open(path) as sheet:
                cells[-1].append(sheet.convert("RGB").crop((0, 0, round(sheet.width * share), sheet.height)))
    width, height = cells[0][0].size
    columns, rows = len(cells[0]), len(cells)
    page = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), "white")
    for row_number, pictures in enumerate(cells):
        for column, picture in enumerate(pictures):
            page.paste(picture, (column * (width + GAP), row_number * (height + GAP)))
    return page


def main() -> None:
    """Write the picture."""
    parser = parser_of(__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--kimg", nargs="+", type=float, required=True)
    parser.add_argument("--whole", action="store_true", help="all samples of a sheet")
    parser.add_argument("--real", metavar="DATA", type=Path, help="a row of this prepared set's volumes")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    sheets = [[sheet_at(run, kimg) for kimg in arguments.kimg] for run in arguments.runs]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.real:
            sheets.append([real_sheet(arguments.real, Path(folder) / "real.png")])
        page_of(sheets, 1.0 if arguments.whole else SHARE).save(arguments.out)


if __name__ == "__main__":
    main()
