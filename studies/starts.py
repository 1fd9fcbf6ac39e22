"""Tables 9 and 10: our own rows at equal images and at equal seconds.

A row's values are means over the last snapshots of each seed, then mean and deviation over seeds: the last
snapshot alone depends on where a run happened to stop. MS-SSIM, the 3D features and the audit are of the
evaluated snapshot.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from studies.cells import number_cell, spread_cell
from studies.collect import Collection, Entry, machine_of
from studies.own import OWN
from voxflate.evaluation.seeds import Spread, spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.parts import Table
from voxflate.reports.results import Result
from voxflate.reports.tables import DASH, FLOOR_ROW, PLUS_MINUS, duration

EQUAL_IMAGES, EQUAL_SECONDS = 9, 10
"""Numbers of the tables, after those of the paper."""

LAST = 3
"""Snapshots whose mean is taken."""


@dataclass(frozen=True)
class _Column:
    """A metric of the snapshots.

    Attributes:
        heading: As printed.
        metric: In the snapshots' columns; the floor has "real-" before it.
    """

    heading: str
    metric: str


def _columns(extractor: str) -> list[_Column]:
    return [
        _Column("FD-avg", f"{frechet_name(extractor)}-avg"),
        _Column("FD-voxels", "frechet-voxels-3d"),
        _Column("precision", f"precision-{extractor}-avg"),
        _Column("recall", f"recall-{extractor}-avg"),
        _Column("pairwise L2", "pairwise-l2"),
    ]


def tables_of_starts(collection: Collection) -> dict[int, Table]:
    """Both tables, or one where times do not compare, or none without rows of ours."""
    entries = [each for key, each in collection.entries.items() if key in OWN]
    if not entries:
        return {}
    found = {EQUAL_IMAGES: _equal_images(entries)}
    machines = {machine_of(result) for entry in entries for result in entry.results}
    if len(machines) == 1:
        found[EQUAL_SECONDS] = _equal_seconds(entries, collection)
    return found


def _equal_images(entries: Sequence[Entry]) -> Table:
    columns = _columns(entries[0].extractor)
    volumes = _volume_metric(entries[0])
    headings = ["Start", "seeds", *(each.heading for each in columns)]
    headings += [
        f"FD-{volumes.split('-')[1]}" if volumes else "FD of 3D features",
        "MS-SSIM",
        "copies",
        "time",
    ]
    rows = [
        [FLOOR_ROW, DASH, *_floor(entries[0], columns), *_floor_evaluated(entries[0], volumes), DASH, DASH]
    ]
    for entry in entries:
        cells = [_cell(entry, _mean_of_last(each.metric)) for each in columns]
        cells += [spread_cell(entry.spread(name), 3) if name else DASH for name in (volumes, "ms-ssim-kwon")]
        seconds = statistics.fmean(each.seconds for each in entry.results)
        rows.append([*_label(entry), *cells, _copies(entry), duration(seconds)])
    total = entries[0].results[0].settings["training.kimg"]
    notes = [
        f"After {total:g} kimg in 3D. FD to pairwise L2 are means over the last {LAST} snapshots of each "
        "seed; MS-SSIM, the 3D features and copies are of the evaluated snapshot; "
        f"mean {PLUS_MINUS} standard deviation over seeds. Each seed has a 2D run of its own.",
        "Copies: generated volumes that the audit flags, over all seeds. Its thresholds flag about 1% of "
        "volumes that are not copies.",
        f"Trained on: {'; '.join(sorted({machine_of(r) for e in entries for r in e.results}))}.",
    ]
    return Table(
        f"Table {EQUAL_IMAGES}. Our starts, with and without the slice discriminator, at equal images",
        headings, rows, notes,
    )  # fmt: skip


def _equal_seconds(entries: Sequence[Entry], collection: Collection) -> Table:
    """Every run as far as it had come when the quickest one ended, its 2D run included."""
    columns = _columns(entries[0].extractor)
    limit = min(
        _before(each, collection) + each.curve("seconds")[-1][1] for e in entries for each in e.results
    )
    rows = [[FLOOR_ROW, DASH, DASH, *_floor(entries[0], columns)]]
    for entry in entries:
        reached = [_reached(each, limit - _before(each, collection)) for each in entry.results]
        cells = [_cell(entry, _at_time(each.metric, limit, collection)) for each in columns]
        rows.append([*_label(entry), f"{statistics.fmean(reached):.3g}", *cells])
    notes = [
        f"The last snapshot within {duration(limit)} of training, that of the 2D run included: then the "
        "quickest run ended. Time for metrics does not count."
    ]
    return Table(
        f"Table {EQUAL_SECONDS}. Our starts, with and without the slice discriminator, at equal seconds",
        ["Start", "seeds", "kimg in 3D", *(each.heading for each in columns)], rows, notes,
    )  # fmt: skip


def _label(entry: Entry) -> list[str]:
    return [OWN[entry.key].label.removeprefix("ours: "), str(len(entry.results))]


def _cell(entry: Entry, of: Callable[[Result], float | None]) -> str:
    values = [of(each) for each in entry.results]
    known = [value for value in values if value is not None]
    found: Spread | None = spread(known) if known and len(known) == len(values) else None
    return spread_cell(found, 3)


def _mean_of_last(metric: str) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        values = [value for _, value in result.curve(metric)[-LAST:]]
        return statistics.fmean(values) if values else None

    return of


def _before(result: Result, collection: Collection) -> float:
    """Seconds of the 2D run that a run started from."""
    twin = collection.twins.get(str((result.twin or {}).get("name")))
    return twin.seconds if twin else 0.0


def _reached(result: Result, seconds: float) -> float:
    """Kimg of the last snapshot within so many seconds of 3D training."""
    return max((kimg for kimg, at in result.curve("seconds") if at <= seconds), default=0.0)


def _at_time(metric: str, limit: float, collection: Collection) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        kimg = _reached(result, limit - _before(result, collection))
        return result.at(metric, round(kimg * 1000))

    return of


def _floor(entry: Entry, columns: Sequence[_Column]) -> list[str]:
    """What real volumes reach among themselves, as the snapshots say; it is the same at all of them."""
    first = entry.results[0]
    values = [dict(first.curve(f"real-{each.metric}")) for each in columns]
    return [number_cell(next(iter(value.values()), None), 3) for value in values]


def _floor_evaluated(entry: Entry, volumes: str) -> list[str]:
    metrics = entry.results[0].evaluations[-1].metrics
    found = [metrics.get(name) for name in (volumes, "ms-ssim-kwon")]
    return [number_cell(None if each is None else each.real, 3) for each in found]


def _volume_metric(entry: Entry) -> str:
    """The Frechet distance of a network for whole volumes, or "" where none was measured."""
    names = entry.results[0].evaluations[-1].metrics
    return next(
        (n for n in names if n.startswith("frechet-") and n.endswith("-3d") and "voxels" not in n), ""
    )


def _copies(entry: Entry) -> str:
    audits = []
    for each in entry.results:
        of_snapshot = [x for x in each.audits if x["n_images"] == each.evaluations[-1].facts["n_images"]]
        if not of_snapshot:
            return DASH
        audits.append(of_snapshot[-1])
    return f"{sum(each['flagged'] for each in audits)} of {sum(each['n-generated'] for each in audits)}"
