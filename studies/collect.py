"""Sorts a folder of results into rows of the paper's tables: seeds grouped, only comparable results."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from studies.own import OWN
from studies.plan import STUDY, Run, Study, plan_of
from studies.settings import RowKey, differing, planned_keys, row_key, settings_of, twin_of
from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS, paper_row
from voxflate.evaluation import Assessment
from voxflate.evaluation.seeds import Spread, spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.known import counts_of
from voxflate.reports.results import Result, read_results
from voxflate.reports.rows import EvaluatedRun, Row, difference, separated

LAST = 3
"""Snapshots whose mean is taken for our own rows: the last one alone depends on where a run stopped."""


@dataclass(frozen=True)
class Entry:
    """A row of the study.

    Attributes:
        key: Key of `PRESETS` or `OWN`.
        results: One per seed, sorted by seed; each has one evaluation, that of its best snapshot.
    """

    key: str
    results: tuple[Result, ...]

    @property
    def paper(self) -> PaperRow | None:
        """The row as printed in the paper; None for our own rows."""
        return PRESETS[self.key].row if self.key in PRESETS else None

    @property
    def extractor(self) -> str:
        """The main feature network of its evaluations."""
        return str(self.results[0].evaluations[-1].facts["extractors"][0]["name"])

    @property
    def distance(self) -> str:
        """The metric for comparing rows."""
        return f"{frechet_name(self.extractor)}-avg"

    @property
    def kid(self) -> str:
        """The KID of the same features: unlike a Frechet distance, few volumes do not bias it."""
        return f"kid-{self.extractor}-avg"

    @property
    def recall(self) -> str:
        """The metric of variety beside the distances."""
        return f"recall-{self.extractor}-avg"

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> metric of the evaluated snapshot."""
        values = ((each.seed, each.evaluations[-1].value(metric)) for each in self.results)
        return {seed: value for seed, value in values if value is not None}

    def last_by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> mean of a metric over the last `LAST` snapshots, as in Table 9.

        The snapshot before training is none of them. A seed with fewer is left out.
        """
        curves = {each.seed: [value for kimg, value in each.curve(metric) if kimg] for each in self.results}
        return {
            seed: statistics.fmean(values[-LAST:]) for seed, values in curves.items() if len(values) >= LAST
        }

    def spread(self, metric: str) -> Spread | None:
        """A metric over the seeds; None if one lacks it."""
        values = self.by_seed(metric)
        return spread(list(values.values())) if len(values) == len(self.results) else None

    @property
    def heads(self) -> int:
        """Trainable parameters of the slice discriminator: its heads, because its network is frozen."""
        return counts_of(self.results[0].parameters)["slice_discriminator_parameters"]

    @property
    def parameters(self) -> int:
        """Trainable parameters of G and D, as the paper counts them: without the slice discriminator."""
        return counts_of(self.results[0].parameters)["parameters"]


@dataclass(frozen=True)
class Collection:
    """The content of a folder of results.

    Attributes:
        entries: Rows by key.
        twins: Results of 2D runs by name.
        notes: Results left out with the reason, one sentence each.
    """

    entries: Mapping[str, Entry]
    twins: Mapping[str, Result]
    notes: tuple[str, ...]

    @property
    def extractors(self) -> set[str]:
        """Main feature networks of the evaluations."""
        return {entry.extractor for entry in self.entries.values()}


def results_of(entries: Iterable[Entry]) -> list[Result]:
    """The 3D runs of some rows."""
    return [each for entry in entries for each in entry.results]


def collect_folder(results: Path) -> Collection:
    """Collect a folder of results, by the plan of the study that it belongs to, if there is one.

    Raises:
        VoxflateError: If the folder has no results, or a file is not a result.
    """
    plan = plan_of(Study.load(results.parent)) if (results.parent / STUDY).is_file() else []
    return collect(read_results(results), plan)


def collect(results: Sequence[Result], plan: Sequence[Run] = ()) -> Collection:
    """Sort results into rows; within a cohort only comparable ones are kept.

    Args:
        results: Of 2D and 3D runs.
        plan: Runs of the study; a row whose seeds were trained with several settings keeps those of the plan.
    """
    twins = {each.name: each for each in results if each.settings["training.phase"] == "2d"}
    notes: list[str] = []
    found: dict[str, list[Result]] = {}
    for each in results:
        if each.name in twins:
            continue
        used = measured(each)
        key, problem = _row_of(used)
        if problem:
            notes.append(f"{each.name} is left out: {problem}.")
        else:
            found.setdefault(key, []).append(used)
    wanted = planned_keys(plan)
    rows = {key: _seeds(part, twins, wanted.get(key), notes) for key, part in found.items()}
    kept: dict[str, Entry] = {}
    for cohort in dict.fromkeys(_cohort(key) for key in rows):
        part = {key: found for key, found in rows.items() if _cohort(key) == cohort}
        kept |= _comparable(part, notes)
    entries = {key: kept[key] for key in (*PRESETS, *OWN) if key in kept}
    notes += [*_snapshots_left_out(entries), *_several_starts(entries)]
    return Collection(entries, twins, tuple(notes))


def _snapshots_left_out(entries: Mapping[str, Entry]) -> list[str]:
    """Runs with snapshots that were measured by another version than their evaluation."""
    counts = [
        (run, sum(version != run.measurement for version in run.measurements))
        for run in results_of(entries.values())
    ]
    return [
        f"{run.name}: {count} of {len(run.measurements)} snapshots are left out, because they were measured "
        f"by another version than its evaluation ({run.measurement})."
        for run, count in counts
        if count
    ]


def _several_starts(entries: Mapping[str, Entry]) -> list[str]:
    """Rows of the paper whose seeds started from several 2D runs; by the plan, one serves them all."""
    started = {
        key: {each.twin.get("weights_sha256") for each in entry.results if each.twin} - {None}
        for key, entry in entries.items()
        if entry.paper
    }
    return [
        f"{key}: its seeds started from {len(hashes)} 2D runs with different weights, so their deviations "
        "contain what another 2D run changes."
        for key, hashes in started.items()
        if len(hashes) > 1
    ]


def measured(result: Result) -> Result:
    """A result with one evaluation: the newest of its best snapshot, or of the last one if no best is known.

    An evaluation of the best snapshot counts as such, however it was asked for. One that was the best when it
    was evaluated, and is no longer, does not.
    """
    snapshot = result.n_images if result.best is None else result.best

    def fits(evaluation: Assessment) -> tuple[bool, bool, bool]:
        facts = evaluation.facts
        plain = facts.get("truncation", 1.0) == 1.0
        return facts["data"] == result.data, facts["n_images"] == snapshot, plain

    if not result.evaluations:
        return result
    chosen = max(reversed(result.evaluations), key=fits)  # of equal ones, max takes the first
    facts = dict(chosen.facts)
    if result.best is not None:
        is_best = facts["n_images"] == result.best
        facts |= {
            "snapshot": "best" if is_best else "newest",
            "budget_kimg": result.settings["training.kimg"],
        }
    return replace(result, evaluations=[replace(chosen, facts=facts)])


def _seeds(
    found: Sequence[Result], twins: Mapping[str, Result], wanted: RowKey | None, notes: list[str]
) -> dict[int, Result]:
    """The seeds of a row that were trained alike: as planned, or as most of its results."""
    groups: dict[RowKey, list[Result]] = {}
    for each in found:
        groups.setdefault(row_key(each, twins), []).append(each)

    def rank(key: RowKey) -> tuple[bool, bool, int]:
        return key == wanted, wanted is not None and key[0] == wanted[0], len(groups[key])

    for key in [key for key in groups if not key[1]]:  # the result of the 2D run is missing
        if likely := [other for other in groups if other[0] == key[0] and other[1]]:
            groups[max(likely, key=rank)] += groups.pop(key)
    kept = groups.pop(max(groups, key=rank))
    rows: dict[int, Result] = {}
    for each in kept:
        if each.seed in rows:
            notes.append(f"{each.name} is left out: {rows[each.seed].name} is the same row and seed.")
        else:
            rows[each.seed] = each
    example = next((each for each in kept if twin_of(each, twins)), kept[0])
    for each in (each for group in groups.values() for each in group):
        notes.append(f"{each.name} is left out: {_other_settings(each, example, twins)}.")
    return rows


def _other_settings(result: Result, kept: Result, twins: Mapping[str, Result]) -> str:
    """The first setting in which a result, or its 2D run, differs from the kept results of its row."""
    pairs = [("it", result, kept)]
    mine, its = twin_of(result, twins), twin_of(kept, twins)
    if mine is not None and its is not None:
        pairs.append((f"its 2D run {mine.name}", mine, its))
    for words, one, other in pairs:
        found, wanted = settings_of(one), settings_of(other)
        if keys := [key for key in differing(found, wanted) if key != "training.seed"]:
            values = f"{keys[0]} = {found.get(keys[0])}, the other seeds with {wanted.get(keys[0])}"
            return f"{words} was trained with {values}"
    raise AssertionError(f"{result.name} and {kept.name} have equal settings")


def _row_of(result: Result) -> tuple[str, str]:
    """The row of a result, or the reason why it has none."""
    preset = result.settings["preset"].partition("@")[0]
    key = preset or re.sub(r"-s\d+$", "", result.name)
    if not result.evaluations:
        return key, "it was not evaluated"
    if result.evaluations[-1].facts["data"] != result.data:
        return key, "it was evaluated with other data than it was trained on"
    if not result.finished:
        return (
            key,
            f"it stopped after {result.n_images / 1000:g} of {result.settings['training.kimg']:g} kimg",
        )
    if key in OWN or (preset and paper_row(result.settings) is not None):
        return key, ""
    return key, "its settings match no row of the paper"


def _cohort(key: str) -> str:
    """Our own rows are shown with those of Tables 1 to 4."""
    return key.partition("-")[0] if key in PRESETS else "coca64"


def _comparable(rows: Mapping[str, Mapping[int, Result]], notes: list[str]) -> dict[str, Entry]:
    """The largest set of a cohort's results that may share a table."""
    single = [
        Row(each.name, (EvaluatedRun(each.name, None, each.evaluations[-1], seed=seed),))
        for found in rows.values()
        for seed, each in found.items()
    ]
    tables = sorted(separated(single), key=len, reverse=True)
    for table in tables[1:]:
        names = ", ".join(row.label for row in table)
        notes.append(
            f"{names}: left out, not comparable with the other rows: {difference(tables[0], table)}."
        )
    fitting = {row.label for row in tables[0]}
    kept = {
        key: tuple(found[seed] for seed in sorted(found) if found[seed].name in fitting)
        for key, found in rows.items()
    }
    return {key: Entry(key, found) for key, found in kept.items() if found}
