"""Training cost per image as volumes, channels and batches grow: seconds, power laws, one picture.

    python -m benchmarks.cost [--rounds 3] [--out docs/benchmarks/cost.json] [--picture docs/images/cost.png]
    python -m benchmarks.cost --table docs/benchmarks/cost.json    # Markdown, and the picture once more

Seconds of training per image (G + D + R1 every 16th step + Adam), with fresh weights and random images, and
the package's defaults (compiled kernels if there is a compiler). One size changes at a time: voxels from
8x16x16 to 64x64x64 at batch 4; channels from 8 to 64 at 16x32x32, batch 8; batch from 1 to 32 at 16x32x32.
The points of an axis take turns, and medians are kept. The law a x^b is a least-squares line through the
logarithms: b = 1 means that twice the size takes twice the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.arguments import parser_of, show
from benchmarks.step import CUBE, FLAT, Case, measure
from benchmarks.timing import PRECISIONS, machine, markdown, usual_precisions
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, NullLocator
from rich.console import Console
from rich.progress import track

from voxflate._system.allocator import keep_freed_memory
from voxflate._system.files import read_json, whole_file
from voxflate.drawing.sheets import COLOURS, MARKERS

ARCHITECTURES = ("baseline", "split-shuffle")
Law = tuple[float, float]
"""a and b of seconds = a x^b."""

Points = Sequence[tuple[int, float]]
"""Size and seconds per image."""


def cases_of(architecture: str, precision: str) -> dict[str, dict[int, Case]]:
    """The points of every axis, by size."""
    middle = Case(architecture, "3d", FLAT, 4, 8, precision)
    shapes = [(FLAT, 3), (FLAT, 4), (FLAT, 5), (CUBE, 5)]
    volumes = [middle._replace(base=base, stages=stages, batch=4) for base, stages in shapes]
    return {
        "voxels": {int(np.prod(case.shape)): case for case in volumes},
        "channels": {n: middle._replace(channels=n) for n in (8, 16, 32, 64)},
        "batch": {n: middle._replace(batch=n) for n in (1, 2, 4, 8, 16, 32)},
    }


def power_law(points: Points) -> Law:
    """The least-squares line through the logarithms.

    >>> a, b = power_law([(1, 3.0), (10, 300.0), (100, 30000.0)])
    >>> round(a, 6), round(b, 6)
    (3.0, 2.0)
    """
    sizes, seconds = np.log(np.array(points)).T
    slope, intercept = np.polyfit(sizes, seconds, 1)
    return float(np.exp(intercept)), float(slope)


def measure_axis(cases: Mapping[str, Mapping[int, Case]], rounds: int) -> dict[str, Any]:
    """Seconds per image of all architectures along one axis, and their laws."""
    entries = {
        (name, size): (case, "compiled") for name, sizes in cases.items() for size, case in sizes.items()
    }
    measured = measure(entries, rounds)
    axis: dict[str, Any] = {}
    for name, sizes in cases.items():
        points = [(size, 1 / measured[name, size]["images_per_s"]) for size in sizes]
        a, b = power_law(points)
        axis[name] = {"points": points, "a": a, "b": b}
    return axis


def run(precision: str, rounds: int, axes: Sequence[str]) -> dict[str, Any]:
    """The content of the table, the picture and the JSON file."""
    facts = machine() | {"rounds": rounds}
    cases = {name: cases_of(name, precision) for name in ARCHITECTURES}
    found = {}
    for axis in track(axes, "timing sizes", console=Console(stderr=True)):
        found[axis] = measure_axis({name: cases[name][axis] for name in ARCHITECTURES}, rounds)
    return {"machine": facts, "precision": precision, "axes": found}


def table(content: Mapping[str, Any]) -> str:
    """Markdown: for every axis the seconds per image at its sizes, and the exponent of the law."""
    parts = []
    for axis, series in content["axes"].items():
        sizes = [f"{size:,}" for size, _ in next(iter(series.values()))["points"]]
        rows = [
            [name, *(f"{seconds:.3g}" for _, seconds in line["points"]), f"{line['b']:.2f}"]
            for name, line in series.items()
        ]
        heads = [f"s/image, {content['precision']}: {axis}", *sizes, "exponent"]
        parts.append(markdown(heads, rows))
    return "\n\n".join(parts)


def picture(content: Mapping[str, Any], path: Path) -> None:
    """Draw one panel per axis, both scales logarithmic; points are measured, lines are the laws."""
    axes_of = content["axes"]
    figure = Figure(figsize=(4.0 * len(axes_of), 3.6), layout="constrained")
    panels = figure.subplots(1, len(axes_of), squeeze=False)[0]
    for panel, (axis, series) in zip(panels, axes_of.items(), strict=True):
        draw(panel, axis, series)
    panels[0].set_ylabel(f"seconds of training per image, {content['precision']}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), frameon=False)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=144, facecolor="white")


def draw(panel: Axes, axis: str, series: Mapping[str, Any]) -> None:
    """One axis."""
    for index, (name, line) in enumerate(series.items()):
        sizes, seconds = np.array(line["points"]).T
        panel.plot(sizes, seconds, MARKERS[index], color=COLOURS[index], markersize=5, label=name)
        law = line["a"] * sizes ** line["b"]
        panel.plot(sizes, law, color=COLOURS[index], linewidth=1.2, alpha=0.7)
        place = (sizes[-1], law[-1])
        law_text = rf"$\propto x^{{{line['b']:.2f}}}$"
        panel.annotate(law_text, place, (9, 0), textcoords="offset points", va="center", color=COLOURS[index])
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(FixedLocator(list(sizes)))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.tick_params(axis="x", labelsize="small")
    panel.xaxis.set_major_formatter(lambda size, _: f"{size / 1024:g}k" if size >= 1024 else f"{size:g}")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(f"{axis} (k = 1,024)" if sizes[-1] >= 1024 else axis)
    panel.grid(alpha=0.2, which="both")
    panel.margins(0.1)
    panel.set_xlim(right=float(sizes[-1]) * float(sizes[-1] / sizes[0]) ** 0.3)  # room for the laws
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Measure or read, print the table, draw the picture."""
    names = list(cases_of(ARCHITECTURES[0], "fp32"))
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=PRECISIONS, default=usual_precisions()[-1])
    parser.add_argument("--axes", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    parser.add_argument("--table", type=Path, help="use the numbers in this JSON and measure nothing")
    options = parser.parse_args()
    if options.table:
        content = read_json(options.table)
    else:
        keep_freed_memory()
        content = run(options.precision, options.rounds, options.axes)
    show(content, table, options.out)
    if options.picture:
        picture(content, options.picture)


if __name__ == "__main__":
    main()
