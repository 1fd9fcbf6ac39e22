"""Charts: t-SNE of features, quality over parameters, metrics over training (by seed) and over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from voxflate._system.files import whole_file
from voxflate.drawing.sheets import COLOURS, MARKERS

_REAL_INK = "#3a434e"

Level = tuple[float, float | None, float | None]
"""A value, and the ends of its interval if it has one."""

Point = tuple[float, float, float | None, float | None]
"""A position on the axis, then as in `Level`."""


def embedding(points: Mapping[str, NDArray[np.floating]], path: str | Path, title: str) -> None:
    """Draw positions of samples, one colour per set; the first set (the real one) is drawn dark and last.

    Args:
        points: Label -> [n, 2].
        path: PNG to write.
        title: Title line.
    """
    figure, axes = _page()
    for index, (label, places) in enumerate(points.items()):
        real = index == 0
        axes.scatter(
            np.asarray(places)[:, 0],
            np.asarray(places)[:, 1],
            s=16,
            label=f"{label} ({len(places)})",
            color=_REAL_INK if real else COLOURS[(index - 1) % len(COLOURS)],
            marker="x" if real else MARKERS[(index - 1) % len(MARKERS)],
            linewidths=1.2 if real else 0,
            alpha=0.8,
            zorder=3 if real else 2,
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, path)


def quality(
    runs: Mapping[str, tuple[int, float, tuple[float, float] | None]],
    path: str | Path,
    ylabel: str,
    floor: float | None = None,
) -> None:
    """Draw a metric over the number of trainable parameters, one mark per run.

    Args:
        runs: Label -> parameters, metric, and the ends of its interval.
        path: PNG to write.
        ylabel: Name of the metric.
        floor: Value of the real set, a dashed line.
    """
    figure, axes = _page()
    for index, (label, (parameters, value, ends)) in enumerate(runs.items()):
        error = None if ends is None else [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
        axes.errorbar(
            parameters / 1e6,
            value,
            yerr=error,
            fmt=MARKERS[index % len(MARKERS)],
            color=COLOURS[index % len(COLOURS)],
            label=label,
            capsize=3,
        )
    if floor is not None:
        axes.axhline(floor, color=_REAL_INK, linestyle=(0, (5, 4)), linewidth=1.2, label="real vs real")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("trainable parameters, millions")
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.2, which="both")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _save(figure, path)


def bands(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, float]]]],
    path: str | Path,
    ylabel: str,
    floors: Mapping[str, float] | None = None,
    best: Mapping[str, float] | None = None,
    note: str = "",
) -> None:
    """Draw metrics over training with a band over seeds, one panel per metric side by side.

    Args:
        panels: Title -> label of a line -> points (kimg, mean, standard deviation).
        path: PNG to write.
        ylabel: Name of the values.
        floors: Title -> value of the real set, a dashed line.
        best: Label of a line -> kimg of the point with a ring.
        note: What lines, bands and rings are; above the panels.
    """
    figure = Figure(figsize=(4.2 * len(panels), 3.8), layout="constrained")
    figure.suptitle(note, x=0.01, ha="left", fontsize=9)
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, lines) in zip(drawn, panels.items(), strict=True):
        for index, (label, points) in enumerate(lines.items()):
            kimg, mean, spread = np.array(sorted(points)).T
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            axes.plot(kimg, mean, marker=marker, color=colour, label=label, linewidth=1.6, markersize=4)
            axes.fill_between(kimg, mean - spread, mean + spread, color=colour, alpha=0.18, linewidth=0)
            ringed = kimg == (best or {}).get(label)
            axes.plot(kimg[ringed], mean[ringed], "o", color=colour, fillstyle="none", markersize=11, mew=1.8)
        if floors and title in floors:
            dashed = {"linestyle": (0, (5, 4)), "linewidth": 1.2}
            axes.axhline(floors[title], color=_REAL_INK, label="real vs real", **dashed)
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("kimg")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    drawn[0].set_ylabel(ylabel)
    handles, labels = drawn[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(7, len(labels)), frameon=False)
    _save(figure, path)


def over_subjects(
    panels: Mapping[str, tuple[Mapping[str, Sequence[Point]], Mapping[str, Level]]], path: str | Path
) -> None:
    """Draw metrics over the number of real subjects with their intervals, one panel per metric side by side.

    Args:
        panels: Title -> lines (label -> at least one point), and levels that do not depend on it
            (label -> value).
        path: PNG to write.
    """
    figure = Figure(figsize=(max(6.4, 4.2 * len(panels)), 3.8), layout="constrained")
    names = dict.fromkeys(name for lines, _ in panels.values() for name in lines)
    order = list(names | dict.fromkeys(name for _, levels in panels.values() for name in levels))
    shown: dict[str, Artist] = {}
    drawn = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, (lines, levels)) in zip(drawn, panels.items(), strict=True):
        axes.set_xscale("log")
        for label, points in lines.items():
            index = order.index(label)
            ends = np.transpose([_reach(level) for _, *level in points])
            # Side by side, or one interval would hide the other.
            places = [count * 1.02 ** (2 * index - len(lines) + 1) for count, *_ in points]
            shown[label] = axes.errorbar(
                places,
                [value for _, value, *_ in points],
                ends,
                marker=MARKERS[index % len(MARKERS)],
                color=COLOURS[index % len(COLOURS)],
                capsize=3,
            )
        counts = sorted({count for points in lines.values() for count, *_ in points})
        axes.set_xticks(counts, [f"{count:g}" for count in counts])
        axes.set_xlim(counts[0] / 1.2, counts[-1] * 1.2)
        for label, level in levels.items():
            colour, (below, above) = COLOURS[order.index(label) % len(COLOURS)], _reach(level)
            shown[label] = axes.axhline(level[0], color=colour, linestyle=(0, (5, 4)), linewidth=1.4)
            axes.axhspan(level[0] - below, level[0] + above, color=colour, alpha=0.12, linewidth=0)
        axes.minorticks_off()
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("real subjects (log scale)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    handles = [shown[label] for label in order]
    columns = min(len(order), 2 * len(panels))
    figure.legend(handles, order, loc="outside lower center", ncols=columns, frameon=False)
    _save(figure, path)


def _reach(level: Sequence[float | None]) -> tuple[float, float]:
    """How far an interval extends below and above its value; 0 if there is none."""
    value, low, high = level
    if value is None or low is None or high is None:
        return 0.0, 0.0
    return max(0.0, value - low), max(0.0, high - value)


def _page() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: str | Path) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=144, facecolor="white")
