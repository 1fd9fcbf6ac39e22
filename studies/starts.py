"""Tables 9 and 10: our own rows at equal images and at equal seconds.

In Table 9, a row's values are means over the last snapshots of each seed, then mean and deviation over seeds;
Table 10 has one snapshot of each seed. In Table 9, MS-SSIM, the 3D features and the audit are of the
evaluated snapshot.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from studies.budgets import BUDGET, budget_columns, budget_notes, joining_notes
from studies.cells import kimg_cell
from studies.collect import LAST, Collection, Entry, results_of
from studies.layout import Column, Table, metric_column, names_column, plain_column
from studies.machines import clock_of, machine_of, made_by, trained_on
from studies.notes import bias, learning_rates, measured_at_snapshots, measured_on, warnings
from studies.own import OWN
from studies.paces import paces_of
from studies.settings import twin_of, twin_problem, with_twins
from voxflate.evaluation.seeds import spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.metrics.extractors.voxels import VOXELS
from voxflate.reports.results import Result
from voxflate.reports.tables import DASH, duration

EQUAL_IMAGES, EQUAL_SECONDS = 9, 10
"""Numbers of the tables, after those of the paper."""

_TITLE = "Our starts, with and without the slice discriminator, at equal"
_CHOSEN_RATE, _PLANAR_RATE = 0.004, 0.001
_CHOSEN_ON_ONE = (
    "Learning rates were tried with one of these rows only: preserving with the slice discriminator "
    f"({_CHOSEN_RATE} against 0.002, decision 0202)."
)


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
    volumes = _volume_metric(entries[0])
    network = volumes.removeprefix("frechet-").removesuffix("-3d")
    shown = (entries[0].extractor, VOXELS, network)
    evaluated = ((f"FD-{network}" if network else "FD of 3D features", volumes), ("MS-SSIM", "ms-ssim"))
    columns = [
        *_names(entries),
        *(
            _over_seeds(each, entries, [entry.last_by_seed(each.metric) for entry in entries])
            for each in _columns(entries[0].extractor)
        ),
        *(
            metric_column(heading, name, _real(entries[0], name), [each.spread(name) for each in entries])
            for heading, name in evaluated
        ),
        plain_column("copies", [_copies(each) for each in entries]),
        *budget_columns(entries, twins, BUDGET[2:]),
    ]
    total = entries[0].results[0].settings["training.kimg"]
    caption = [
        f"After {total:g} kimg in 3D. FD-avg to pairwise L2 are means over the last {LAST} snapshots of each "
        "seed; MS-SSIM, the 3D features and copies are of the evaluated snapshot. Each seed has a 2D run of "
        "its own.",
        *bias(entries),
    ]
    notes = [
        *budget_notes(entries, twins),
        *_rates(entries),
        f"Evaluated snapshots: {measured_on(entries)}",
        *measured_at_snapshots(entries),
        *warnings(entries, shown, evaluated=False),
        "Copies: generated volumes that the audit flags, over all seeds. Of real people whom it does not "
        f"know it flags {_false_alarms(entries)}.{_not_audited(entries)}",
        trained_on(with_twins(results_of(entries), twins)),
        made_by(with_twins(results_of(entries), twins)),
        *more_notes,
    ]
    return Table(EQUAL_IMAGES, f"{_TITLE} images", columns, caption, notes)


def _equal_seconds(entries: Sequence[Entry], twins: Mapping[str, Result], left_out: Sequence[str]) -> Table:
    """Every run as far as it comes at its row's best speed until the quickest row ends, 2D runs included.

    Args:
        entries: With the runs of `_timed`.
        twins: Results of 2D runs by name.
        left_out: Notes about the runs that are not among them.
    """
    paces = paces_of(entries, twins)
    limit = min(paces[entry.key].end(each) for entry in entries for each in entry.results)
    reached = [
        {each.seed: paces[entry.key].reached(each, limit) for each in entry.results} for entry in entries
    ]
    shown = (entries[0].extractor, VOXELS)
    columns = [
        *_names(entries),
        plain_column("images/s", [paces[entry.key].speeds for entry in entries]),
        plain_column("3D kimg", [kimg_cell(statistics.fmean(each.values())) for each in reached]),
        *budget_columns(entries, twins, ["2D kimg"], group=""),
        *(
            _over_seeds(each, entries, [_at(*row, each.metric) for row in zip(entries, reached, strict=True)])
            for each in _columns(entries[0].extractor)
        ),
    ]
    caption = [
        f"The last snapshot within {duration(limit)} of training, that of the 2D run included: then the "
        "quickest row ended.",
        *bias(entries),
    ]
    notes = [
        f"2D kimg {DASH}: no 2D run. Time for metrics does not count.",
        "Other work on the machine only adds time. So every row counts the seconds per image of its quickest "
        "run, and of the quickest 2D run of its kind. Images/s are those in 3D, from the slowest seed to the "
        "quickest.",
        *_rates(entries),
        *measured_at_snapshots(entries),
        *warnings(entries, shown, evaluated=False),
        f"All runs, those in 2D too, were trained on: {machine_of(entries[0].results[0])}.",
        made_by(with_twins(results_of(entries), twins)),
        *joining_notes(entries, twins),
        *left_out,
    ]
    return Table(EQUAL_SECONDS, f"{_TITLE} seconds", columns, caption, notes)


def _names(entries: Sequence[Entry]) -> list[Column]:
    return [
        names_column("Start", [_label(each) for each in entries]),
        plain_column("seeds", [str(len(each.results)) for each in entries]),
    ]


def _timed(entries: Sequence[Entry], twins: Mapping[str, Result]) -> tuple[list[Entry], list[str]]:
    """Rows with the runs whose seconds compare, and a note about the others, if there are any."""
    problems = _problems(results_of(entries), twins)
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
            problem = twin_problem(run, twins)
            found[run.name] = f"the result of its 2D run {run.twin['name']} {problem}"
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


def _label(entry: Entry) -> str:
    return OWN[entry.key].label.removeprefix("ours: ")


def _rates(entries: Sequence[Entry]) -> list[str]:
    """How the recommended rates were chosen, if rows have these, and the rates where rows differ."""
    rates = {entry.key: entry.results[0].settings["training.lr_g"] for entry in entries}
    planar = [rate for key, rate in rates.items() if OWN[key].twin == "planar"]
    others = [rate for key, rate in rates.items() if OWN[key].twin != "planar"]
    chosen = [_CHOSEN_ON_ONE] if _CHOSEN_RATE in others else []
    if chosen and _PLANAR_RATE in planar:
        chosen = [f"{_CHOSEN_ON_ONE} Planar keeps {_PLANAR_RATE}."]
    return [*chosen, *learning_rates([(_label(entry), entry) for entry in entries])]


def _over_seeds(column: _Column, entries: Sequence[Entry], values: Sequence[Mapping[int, float]]) -> Column:
    """The metric of every row: a dash if a seed lacks its value."""
    found = [
        spread(list(of_row.values())) if len(of_row) == len(entry.results) else None
        for entry, of_row in zip(entries, values, strict=True)
    ]
    return metric_column(column.heading, column.metric, _floor(entries, column.metric), found)


def _at(entry: Entry, kimg: Mapping[int, float], metric: str) -> dict[int, float]:
    """Seed -> a metric at the snapshot of so many kimg."""
    found = {each.seed: each.at(metric, round(kimg[each.seed] * 1000)) for each in entry.results}
    return {seed: value for seed, value in found.items() if value is not None}


def _floor(entries: Sequence[Entry], metric: str) -> float | None:
    """What real volumes reach among themselves: the first floor found, at snapshots or else in evaluations.

    Snapshots of older versions lack some floors. All rows have the same, but for the voxels: their floors
    from before decision 0199 are higher.
    """
    runs = results_of(entries)
    at_snapshots = (value for run in runs for _, value in run.curve(f"real-{metric}"))
    evaluated = (run.evaluations[-1].metrics.get(metric) for run in runs)
    known = (each.real for each in evaluated if each is not None and each.real is not None)
    return next(at_snapshots, next(known, None))


def _real(entry: Entry, metric: str) -> float | None:
    found = entry.results[0].evaluations[-1].metrics.get(metric)
    return None if found is None else found.real


def _volume_metric(entry: Entry) -> str:
    """The Frechet distance of a network for whole volumes, or "" where none was measured."""
    names = entry.results[0].evaluations[-1].metrics
    return next(
        (n for n in names if n.startswith("frechet-") and n.endswith("-3d") and "voxels" not in n), ""
    )


def _false_alarms(entries: Sequence[Entry]) -> str:
    audits = [audit for audit in map(_audit, results_of(entries)) if audit is not None]
    shares = [audit["false-alarms"] for audit in audits if audit.get("false-alarms") is not None]
    return f"{statistics.fmean(shares):.1%}" if shares else "some, too (not measured)"


def _copies(entry: Entry) -> str:
    audits = [audit for audit in map(_audit, entry.results) if audit is not None]
    if not audits:
        return DASH
    return f"{sum(each['flagged'] for each in audits)} of {sum(each['n-generated'] for each in audits)}"


def _audit(result: Result) -> Mapping[str, Any] | None:
    """The newest audit of the evaluated snapshot that looked for copies of the training data.

    Truncation brings samples closer together, so an audit of truncated ones does not count.
    """
    evaluated = result.evaluations[-1].facts["n_images"]
    own = [each for each in result.audits if each.get("data", result.data) == result.data]
    whole = [each for each in own if each.get("truncation", 1.0) == 1.0]
    return next((each for each in reversed(whole) if each["n_images"] == evaluated), None)


def _not_audited(entries: Sequence[Entry]) -> str:
    names = [each.name for each in results_of(entries) if _audit(each) is None]
    left_out = "Not counted, because their evaluated snapshot was not audited on the training data"
    return f" {left_out}: {', '.join(names)}." if names else ""
