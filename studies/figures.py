"""Figures 4 to 9 from a folder of results: `python -m studies.figures RESULTS --out FOLDER`.

4: distances over kimg, with a band over seeds. 5 and 9: samples at kimg 0 and at the best snapshot. 6:
samples at the higher resolution. 7 and 8: t-SNE of real volumes, ours and two other models. Samples are of
the first seed. A figure with missing rows is left out, and figures.json has the reason.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from studies.collect import Collection, Entry, collect_folder
from studies.labels import in_order, label_of
from voxflate._system.errors import VoxflateError
from voxflate._system.files import whole_file, write_json
from voxflate.config.presets import PRESETS
from voxflate.drawing import charts
from voxflate.metrics.embedding import tsne
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.results import Result

FIG_4 = [name for name, preset in PRESETS.items() if 1 in preset.row.labels]
FIG_5 = ["coca64-baseline", "coca64-baseline-inflate-1"]
FIG_6 = ["coca128-baseline", "coca128-split-shuffle-inflate-1"]
FIG_7 = ["coca64-split-shuffle-inflate-1", "coca64-alpha-wgan-gp", "coca64-baseline"]
FIG_8 = ["adni64-split-shuffle-inflate-1", "adni64-alpha-wgan-gp", "adni64-baseline"]
FIG_9 = in_order((name for name, preset in PRESETS.items() if 7 in preset.row.labels), 7)
PICTURED = {*FIG_5, *FIG_6, *FIG_7, *FIG_8, *FIG_9}
"""Rows whose results keep sheets and features."""

_PLANES = {"axial": "ax", "sagittal": "sag", "coronal": "cor"}


def _entries(collection: Collection, keys: Sequence[str], least: int) -> list[Entry]:
    """Rows of a figure.

    Raises:
        VoxflateError: If fewer than `least` of them exist.
    """
    found = [collection.entries[key] for key in keys if key in collection.entries]
    if len(found) < least:
        raise VoxflateError(f"{least} of the rows {', '.join(keys)} are needed, {len(found)} exist")
    return found


def curves(collection: Collection, path: Path) -> None:
    """Figure 4: distances over kimg for every strategy, mean and standard deviation over seeds."""
    entries = [each for each in _entries(collection, FIG_4, 1) if _points(each, each.distance)]
    if not entries:  # evaluation.every=0
        raise VoxflateError("no row has metrics at snapshots")
    stem = frechet_name(entries[0].extractor)
    counts = {len(each.results) for each in entries}

    def label(entry: Entry) -> str:
        return f"{label_of(entry.key, 1)}{'' if len(counts) == 1 else f' (n = {len(entry.results)})'}"

    panels: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    floors = {}
    for title, plane in _PLANES.items():
        metric = f"{stem}-{plane}"
        panels[title] = {label(each): _points(each, metric) for each in entries}
        floor = entries[0].results[0].evaluations[-1].metrics[metric].real
        if floor is not None:
            floors[title] = floor
    best = {label(each): min(_points(each, each.distance), key=lambda point: point[1])[0] for each in entries}
    note = f"{_over_seeds(counts)} Ring: best snapshot of a row, by its mean over the planes."
    charts.bands(panels, path, f"Frechet distance ({entries[0].extractor})", floors, best, note)


def _over_seeds(counts: set[int]) -> str:
    """What lines and bands are, for rows of so many seeds."""
    if max(counts) == 1:
        return "One seed."
    seeds = f"{max(counts)} seeds" if len(counts) == 1 else "seeds (n)"
    return f"Line: mean over {seeds}; band: \N{PLUS-MINUS SIGN} standard deviation."


def _points(entry: Entry, metric: str) -> list[tuple[float, float, float]]:
    """(kimg, mean, deviation) at the snapshots that all seeds have."""
    tracks = [dict(each.curve(metric)) for each in entry.results]
    shared = sorted(set.intersection(*(set(track) for track in tracks)))
    values = [[track[kimg] for track in tracks] for kimg in shared]
    return [
        (kimg, statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0)
        for kimg, found in zip(shared, values, strict=True)
    ]


def starts_and_ends(keys: Sequence[str], table: int) -> Callable[[Collection, Path], None]:
    """Figures 5 and 9: for each row, samples before training and at its best snapshot."""

    def draw(collection: Collection, path: Path) -> None:
        parts = []
        for entry in _entries(collection, keys, 1):
            pictures = _pictured(entry)
            label = f"{label_of(entry.key, table)}, seed {entry.results[0].seed}"
            parts.append((f"{label}, kimg 0", pictures["start"]))
            parts.append((f"{label}, {chosen(entry.results[0])}", pictures["best"]))
        _stack(parts, path, columns=2)

    return draw


def chosen(result: Result) -> str:
    """The snapshot of a result's second sheet: the best, or the last if the best is unknown."""
    if result.best is None:
        return f"last ({result.n_images / 1000:g} kimg)"
    return f"best ({result.best / 1000:g} kimg)"


def finest(collection: Collection, path: Path) -> None:
    """Figure 6: samples at the higher resolution."""
    parts = [
        (f"{label_of(each.key, 5)}, seed {each.results[0].seed}", _pictured(each)["best"])
        for each in _entries(collection, FIG_6, 1)
    ]
    _stack(parts, path, columns=1)


def embedded(keys: Sequence[str], table: int) -> Callable[[Collection, Path], None]:
    """Figures 7 and 8: t-SNE of the features of centre slices."""

    def draw(collection: Collection, path: Path) -> None:
        entries = _entries(collection, keys, 2)
        sets = {label_of(each.key, table): each.results[0].points for each in entries}
        if not all(sets.values()):
            raise VoxflateError("a result has no features: write it with voxflate result RUN --pictures")
        real = next(iter(sets.values()))["real"]
        for label, points in sets.items():
            if points["real"].shape != real.shape or not np.allclose(
                points["real"], real, rtol=0.02, atol=0.05
            ):
                raise VoxflateError(f"{label} was measured with other real volumes than the first row")
        groups = {"real": real, **{label: points["generated"] for label, points in sets.items()}}
        spots = tsne(np.concatenate(list(groups.values())), seed=0)
        ends = np.cumsum([len(group) for group in groups.values()])[:-1]
        seeds = sorted({each.results[0].seed for each in entries})
        title = f"t-SNE of centre slices, seed {' and '.join(map(str, seeds))}"
        charts.embedding(dict(zip(groups, np.split(spots, ends), strict=True)), path, title)

    return draw


def _pictured(entry: Entry) -> Mapping[str, bytes]:
    """The sheets of a row's first seed.

    Raises:
        VoxflateError: If its result has no sheets.
    """
    pictures = entry.results[0].pictures
    if not {"start", "best"} <= pictures.keys():
        raise VoxflateError(f"{entry.results[0].name}: has no sheets; write its result with --pictures")
    return pictures


def _stack(parts: Sequence[tuple[str, bytes]], path: Path, columns: int) -> None:
    """Sheets in rows, each under its caption."""
    font = ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), 15)
    sheets = [(caption, Image.open(io.BytesIO(png))) for caption, png in parts]
    width, height = (max(sheet.size[axis] for _, sheet in sheets) for axis in (0, 1))
    head, gap = 28, 8
    rows = -(-len(sheets) // columns)
    page = Image.new("L", (columns * (width + gap) - gap, rows * (height + head)), 255)
    draw = ImageDraw.Draw(page)
    for number, (caption, sheet) in enumerate(sheets):
        left, top = number % columns * (width + gap), number // columns * (height + head)
        draw.text((left + 4, top + 5), caption, fill=20, font=font)
        page.paste(sheet, (left, top + head))
    with whole_file(path) as temporary:
        page.save(temporary, format="PNG", optimize=True)


FIGURES: Mapping[str, Callable[[Collection, Path], None]] = {
    "figure-4.png": curves,
    "figure-5.png": starts_and_ends(FIG_5, 1),
    "figure-6.png": finest,
    "figure-7.png": embedded(FIG_7, 6),
    "figure-8.png": embedded(FIG_8, 7),
    "figure-9.png": starts_and_ends(FIG_9, 7),
}


def write_figures(results: Path, out: Path) -> dict[str, str]:
    """Draw every figure whose rows exist.

    Returns:
        File name -> "" if it was drawn, otherwise the reason; also written to figures.json.

    Raises:
        VoxflateError: If the folder has no results.
    """
    collection = collect_folder(results)
    found = {}
    for name, draw in FIGURES.items():
        (out / name).unlink(missing_ok=True)  # from an earlier call, when its rows existed
        try:
            draw(collection, out / name)
            found[name] = ""
        except VoxflateError as error:
            found[name] = str(error)
    write_json(out / "figures.json", found)
    return found


def main() -> None:
    """Draw the figures of a folder of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        found = write_figures(arguments.results, arguments.out)
    except VoxflateError as error:
        sys.exit(f"voxflate: {error}")
    for name, problem in found.items():
        print(f"{name} left out: {problem}" if problem else f"{arguments.out / name}")


if __name__ == "__main__":
    main()
