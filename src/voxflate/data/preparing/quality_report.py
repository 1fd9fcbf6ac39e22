"""Writes OUT/report.html: everything about a prepared set that people should check before training.

It is one file without external content or scripts. Scans appear under their pseudonyms.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from voxflate._system.files import whole_file
from voxflate.data.prepared import Manifest, Scan
from voxflate.data.preparing.labels import label_lines
from voxflate.data.preparing.pictures import COLOURS
from voxflate.data.preparing.quality import (
    BINS,
    FAR,
    FEWEST,
    Look,
    Outlier,
    duplicates,
    outliers,
    several_scans,
)
from voxflate.data.volume import Float64, Geometry

REPORT = "report.html"

_MOST_ROWS = 12
"""Most rows of the table of grids; a cohort can have as many grids as scans."""
_LABEL_BINS = 8
"""Number of bins for a continuous label."""
_WIDE, _HIGH = 640, 200
"""Size of the histogram's drawing area."""


def write_quality_report(path: Path, manifest: Manifest, looks: Sequence[Look]) -> None:
    """Write the report of a set.

    Args:
        path: HTML file to write.
        manifest: Manifest of the set.
        looks: Data of its volumes, in the order of `manifest.scans`.
    """
    scans = manifest.scans
    normalised = not any(step["step"] == "window_hu" for step in manifest.steps)
    odd = outliers(scans, looks, manifest.layout.channels, normalised=normalised)
    copies = duplicates([one.coarse for one in looks])
    environment = Environment(
        loader=PackageLoader("voxflate.data.preparing"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        optimized=False,  # the page is rendered once, and the optimiser takes longer than it saves
    )
    environment.filters["sides"] = lambda values: " \u00d7 ".join(f"{value:.5g}" for value in values)
    page = environment.get_template("quality.html").render(
        manifest=manifest,
        subjects={s: len({one.subject for one in scans if one.split == s}) for s in ("train", "heldout")},
        counts=Counter(scan.split for scan in scans),
        copies=[[scans[i] for i in group] for group in copies],
        leaks=sum(len({scans[i].split for i in group}) > 1 for group in copies),
        odd=[(scans[one.index], one) for one in odd],
        judged=len(scans) >= FEWEST,
        far=FAR,
        several={s: [scans[i] for i in group] for s, group in several_scans(scans).items()},
        grids=_grids(scans),
        most_rows=_MOST_ROWS,
        spreads=_spreads(scans),
        histogram=_histogram(looks, odd),
        size=(_WIDE, _HIGH),
        tiles=_tiles(scans, looks, odd, copies),
        files=manifest.files,
        classes=_classes(manifest, looks),
        labels=list(label_lines(manifest.layout.labels, scans)),
        bars=_bars(manifest),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _classes(manifest: Manifest, looks: Sequence[Look]) -> list[tuple[str, str, int, int, list[float]]]:
    """For each class: colour, name, value, volumes that have it; smallest, median and largest size, ml."""
    grids = [Geometry(manifest.shape, np.array(scan.affine)) for scan in manifest.scans]
    volumes = np.prod([grid.extent for grid in grids], axis=1) / 1000  # ml; those of coca differ
    rows = []
    for index, channel in enumerate(manifest.layout.channels[manifest.layout.images :]):
        sizes = np.array([one.shares[index] for one in looks]) * volumes
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[index % len(COLOURS)])
        having = int((sizes > 0).sum())
        rows.append(
            (colour, channel.name, channel.label, having, np.percentile(sizes, [0, 50, 100]).tolist())
        )
    return rows


def _bars(manifest: Manifest) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """For each label: (class or range, volumes, share of the largest bar), including held-out volumes."""
    bars = []
    for column in manifest.layout.labels:
        values = [scan.labels[column.name] for scan in manifest.scans]
        if column.categorical:
            counts = [(value, values.count(value)) for value in column.values]
        else:
            numbers, edges = np.histogram(np.array(values, np.float64), bins=_LABEL_BINS)
            ranges = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
            counts = list(zip(ranges, numbers.tolist(), strict=True))
        most = max(count for _, count in counts)
        bars.append((column.name, [(value, count, count / most) for value, count in counts]))
    return bars


def _grids(scans: Sequence[Scan]) -> list[tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...], int]]:
    """Shape, spacing and field of view of the sources with the number of scans, most common first."""
    grids = Counter(
        (scan.source_shape, tuple(round(side, 3) for side in scan.source_spacing)) for scan in scans
    )
    return [
        (shape, spacing, tuple(n * side for n, side in zip(shape, spacing, strict=True)), count)
        for (shape, spacing), count in grids.most_common()
    ]


def _spreads(scans: Sequence[Scan]) -> list[tuple[str, list[float]]]:
    """Minimum, 5%, median, 95% and maximum of the properties that differ between the sources."""
    spacing = np.array([scan.source_spacing for scan in scans])
    shape = np.array([scan.source_shape for scan in scans])
    rows: list[tuple[str, Float64]] = []
    for axis, name in enumerate(("D, feet to head", "H, back to front", "W, left to right")):
        rows.append((f"voxels along {name}", shape[:, axis].astype(float)))
        rows.append((f"voxel side along {name}, mm", spacing[:, axis]))
        rows.append((f"field of view along {name}, mm", shape[:, axis] * spacing[:, axis]))
    rows += [
        (f"source value that became {value}", np.array([scan.intensity[end] for scan in scans]))
        for end, value in enumerate((-1, 1))
    ]
    return [(name, np.percentile(values, [0, 5, 50, 95, 100]).tolist()) for name, values in rows]


def _histogram(looks: Sequence[Look], odd: Sequence[Outlier]) -> dict[str, Any]:
    """Lines and a band for the chart: shares on a square-root scale, so that tissue is visible beside air."""
    shares = np.sqrt(np.stack([one.histogram for one in looks]))
    low, middle, high = np.percentile(shares, [5, 50, 95], axis=0)
    peak = float(max(shares.max(), 1e-9))
    unlike = list(dict.fromkeys(one.index for one in odd))[:12]
    return {
        "band": _points([*enumerate(high), *reversed(list(enumerate(low)))], peak),
        "median": _points(enumerate(middle), peak),
        "unlike": [_points(enumerate(shares[index]), peak) for index in unlike],
        "peak": peak**2,
    }


def _points(values: Iterable[tuple[int, float]], peak: float) -> str:
    """Points of an SVG line: bins across, values up."""
    return " ".join(f"{(i + 0.5) / BINS * _WIDE:.1f},{_HIGH * (1 - v / peak):.1f}" for i, v in values)


def _tiles(
    scans: Sequence[Scan], looks: Sequence[Look], odd: Sequence[Outlier], copies: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """One picture per volume, with the remarks on it."""
    notes: dict[int, list[str]] = {}
    for one in odd:
        notes.setdefault(one.index, []).append(one.respect)
    for index in (index for group in copies for index in group):
        notes.setdefault(index, []).append("copy")
    return [
        {
            "scan": scan,
            "picture": base64.b64encode(look.picture).decode(),
            "notes": ", ".join(notes.get(index, ())),
        }
        for index, (scan, look) in enumerate(zip(scans, looks, strict=True))
    ]
