"""Tables 9 and 10: our own rows at equal images and at equal seconds.

A row's values are means over the last snapshots of each seed, then mean and deviation over seeds: the last
snapshot alone depends on where a run happened to stop. MS-SSIM, the 3D features and the audit are of the
evaluated snapshot.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from studies.budgets import BUDGET, budget, budget_notes
from studies.cells import kimg_cell, number_cell, spread_cell
from studies.collect import Collection, Entry
from studies.machines import clock_of, machine_of, made_by
from studies.notes import learning_rates, measured_at_snapshots, measured_on, results_of, warnings
from studies.own import OWN
from studies.settings import twin_of, with_twins
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
        _Column("KID-avg", f"kid-{extractor}-avg"),
        _Column("FD-voxels", "frechet-voxels-3d"),
        _Column("precision", f"precision-{extractor}-avg"),
        _Column("recall", f"recall-{extractor}-avg"),
        _Column("pairwise L2", "pairwise-l2"),
    ]


def tables_of_starts(collection: Collection) -> dict[int, Table]:
    """Both tables, or one where too few seconds compare, or none without rows of ours."""
    entries = [each for key, each in collection.entries.items() if key in OWN]
    if not entries:
        return {}
    timed, left_out = _timed(entries, collection.twins)
    if len(timed) > 1:
        seconds = {EQUAL_SECONDS: _equal_seconds(timed, collection.twins, left_out)}
        return {EQUAL_IMAGES: _equal_images(entries, collection.twins), **seconds}
    absent = ["There is no table at equal seconds: fewer than two rows have comparable seconds.", *left_out]
    return {EQUAL_IMAGES: _equal_images(entries, collection.twins, absent)}


def _equal_images(
    entries: Sequence[Entry], twins: Mapping[str, Result], more_notes: Sequence[str] = ()
) -> Table:
    columns = _columns(entries[0].extractor)
    volumes = _volume_metric(entries[0])
    network = volumes.removeprefix("frechet-").removesuffix("-3d")
    costs = BUDGET[2:]
    headings = ["Start", "seeds", *(each.heading for each in columns)]
    headings += [f"FD-{network}" if network else "FD of 3D features", "MS-SSIM", "copies", *costs]
    floor = [*_floor(entries, columns), *_floor_evaluated(entries[0], volumes)]
    rows = [[FLOOR_ROW, DASH, *floor, *([DASH] * (1 + len(costs)))]]
    for entry in entries:
        cells = [_cell(entry, _mean_of_last(each.metric)) for each in columns]
        cells += [spread_cell(entry.spread(name), 3) if name else DASH for name in (volumes, "ms-ssim-kwon")]
        rows.append([*_label(entry), *cells, _copies(entry), *budget(entry, twins, costs)])
    total = entries[0].results[0].settings["training.kimg"]
    notes = [
        f"After {total:g} kimg in 3D. FD-avg to pairwise L2 are means over the last {LAST} snapshots of each "
        "seed; MS-SSIM, the 3D features and copies are of the evaluated snapshot; "
        f"mean {PLUS_MINUS} standard deviation over seeds. Each seed has a 2D run of its own.",
        *budget_notes(entries, twins),
        *_rates(entries),
        f"Evaluated snapshots: {measured_on(entries)}",
        *measured_at_snapshots(entries),
        *warnings(entries, (entries[0].extractor, "voxels", network)),
        "Copies: generated volumes that the audit flags, over all seeds. Of real people whom it does not "
        f"know it flags {_false_alarms(entries)}.",
        f"Trained on: {'; '.join(sorted({machine_of(r) for r in with_twins(results_of(entries), twins)}))}.",
        made_by(with_twins(results_of(entries), twins)),
        *more_notes,
    ]
    return Table(
        f"Table {EQUAL_IMAGES}. Our starts, with and without the slice discriminator, at equal images",
        headings, rows, notes,
    )  # fmt: skip


def _equal_seconds(entries: Sequence[Entry], twins: Mapping[str, Result], left_out: Sequence[str]) -> Table:
    """Every run as far as it had come when the quickest one ended, its 2D run included.

    Args:
        entries: With the runs of `_timed`.
        twins: Results of 2D runs by name.
        left_out: Notes about the runs that are not among them.
    """
    columns = _columns(entries[0].extractor)
    limit = min(_before(each, twins) + each.curve("seconds")[-1][1] for e in entries for each in e.results)
    rows = [[FLOOR_ROW, *([DASH] * 3), *_floor(entries, columns)]]
    for entry in entries:
        reached = [_reached(each, limit - _before(each, twins)) for each in entry.results]
        cells = [_cell(entry, _at_time(each.metric, limit, twins)) for each in columns]
        shown = [kimg_cell(statistics.fmean(reached)), *budget(entry, twins, ["2D kimg"])]
        rows.append([*_label(entry), *shown, *cells])
    notes = [
        f"The last snapshot within {duration(limit)} of training, that of the 2D run included: then the "
        f"quickest run ended. 2D kimg {DASH}: no 2D run. Time for metrics does not count.",
        *_rates(entries),
        *measured_at_snapshots(entries),
        *warnings(entries, (entries[0].extractor, "voxels")),
        f"All runs, those in 2D too, were trained on: {machine_of(entries[0].results[0])}.",
        made_by(with_twins(results_of(entries), twins)),
        *left_out,
    ]
    return Table(
        f"Table {EQUAL_SECONDS}. Our starts, with and without the slice discriminator, at equal seconds",
        ["Start", "seeds", "3D kimg", "2D kimg", *(each.heading for each in columns)], rows, notes,
    )  # fmt: skip


def _timed(entries: Sequence[Entry], twins: Mapping[str, Result]) -> tuple[list[Entry], list[str]]:
    """Rows with the runs whose seconds compare, and a note about the others, if there are any."""
    problems = _problems([each for entry in entries for each in entry.results], twins)
    kept = [
        replace(entry, results=tuple(each for each in entry.results if each.name not in problems))
        for entry in entries
    ]
    runs: dict[str, list[str]] = {}
    for name, problem in problems.items():
        runs.setdefault(problem, []).append(name)
    said = "; ".join(f"{', '.join(names)} ({problem})" for problem, names in runs.items())
    notes = [f"Not at equal seconds: {said}."] if said else []
    return [entry for entry in kept if entry.results], notes


def _problems(runs: Sequence[Result], twins: Mapping[str, Result]) -> dict[str, str]:
    """Runs whose seconds do not compare, by name, with the reason.

    Seconds compare among runs that had, like their 2D runs, the machine and PyTorch of most.
    """
    found: dict[str, str] = {}
    clocks: dict[str, list[dict[str, str]]] = {}
    for run in runs:
        twin = twin_of(run, twins)
        if run.twin and twin is None:
            found[run.name] = f"the result of its 2D run {run.twin['name']} is missing"
        elif not run.curve("seconds"):
            found[run.name] = "no metrics at snapshots"
        else:
            clocks[run.name] = [clock_of(each) for each in (run, twin) if each is not None]
    usual = _usual(list(clocks.values()))
    for name, parts in clocks.items():
        for words, clock in zip(("", "its 2D run: "), parts, strict=False):
            others = [key for key in clock if clock[key] != usual[key]]
            if others and name not in found:
                found[name] = words + ", ".join(
                    f"{key} {clock[key]}, most have {usual[key]}" for key in others
                )
    return found


def _usual(clocks: Sequence[Sequence[Mapping[str, str]]]) -> dict[str, str]:
    """The clock of most runs: of those that have it in 2D and 3D, if there are any; {} without runs."""
    alike = [own for own, *its in clocks if all(each == own for each in its)]
    counted = Counter(tuple(own.items()) for own in alike or [own for own, *_ in clocks])
    return dict(counted.most_common(1)[0][0]) if counted else {}


def _label(entry: Entry) -> list[str]:
    return [OWN[entry.key].label.removeprefix("ours: "), str(len(entry.results))]


def _rates(entries: Sequence[Entry]) -> list[str]:
    return learning_rates([(_label(entry)[0], entry) for entry in entries])


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


def _before(result: Result, twins: Mapping[str, Result]) -> float:
    """Seconds of the 2D run that a run started from; 0 if it started from none."""
    twin = twin_of(result, twins)
    return twin.seconds if twin else 0.0


def _reached(result: Result, seconds: float) -> float:
    """Kimg of the last snapshot within so many seconds of 3D training."""
    return max((kimg for kimg, at in result.curve("seconds") if at <= seconds), default=0.0)


def _at_time(metric: str, limit: float, twins: Mapping[str, Result]) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        kimg = _reached(result, limit - _before(result, twins))
        return result.at(metric, round(kimg * 1000))

    return of


def _floor(entries: Sequence[Entry], columns: Sequence[_Column]) -> list[str]:
    """What real volumes reach among themselves: the same at all snapshots of all rows.

    Snapshots of older versions lack some floors; then it is that of an evaluation.
    """
    return [number_cell(_floor_of(entries, each.metric), 3) for each in columns]


def _floor_of(entries: Sequence[Entry], metric: str) -> float | None:
    runs = [each for entry in entries for each in entry.results]
    at_snapshots = (value for run in runs for _, value in run.curve(f"real-{metric}"))
    evaluated = (run.evaluations[-1].metrics.get(metric) for run in runs)
    known = (each.real for each in evaluated if each is not None and each.real is not None)
    return next(at_snapshots, next(known, None))


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


def _false_alarms(entries: Sequence[Entry]) -> str:
    audits = (audit for entry in entries for each in entry.results for audit in each.audits)
    shares = [audit["false-alarms"] for audit in audits if audit.get("false-alarms") is not None]
    return f"{statistics.fmean(shares):.1%}" if shares else "some, too (not measured)"


def _copies(entry: Entry) -> str:
    audits = []
    for each in entry.results:
        of_snapshot = [x for x in each.audits if x["n_images"] == each.evaluations[-1].facts["n_images"]]
        if not of_snapshot:
            return DASH
        audits.append(of_snapshot[-1])
    return f"{sum(each['flagged'] for each in audits)} of {sum(each['n-generated'] for each in audits)}"
