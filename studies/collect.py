"""Sorts a folder of results into rows of the paper's tables: seeds grouped, only comparable results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.own import OWN
from voxflate.config.paper_rows import PaperRow
from voxflate.config.presets import PRESETS, paper_row
from voxflate.evaluation.seeds import Spread, spread
from voxflate.metrics.extractors.inception import frechet_name
from voxflate.reports.results import Result
from voxflate.reports.rows import EvaluatedRun, Row, difference, separated


@dataclass(frozen=True)
class Entry:
    """A row of the study.

    Attributes:
        key: Key of `PRESETS` or `OWN`.
        results: One per seed, sorted by seed; each has an evaluation.
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

    def by_seed(self, metric: str) -> dict[int, float]:
        """Seed -> metric of the evaluated snapshot."""
        values = ((each.seed, each.evaluations[-1].value(metric)) for each in self.results)
        return {seed: value for seed, value in values if value is not None}

    def spread(self, metric: str) -> Spread | None:
        """A metric over the seeds; None if one lacks it."""
        values = self.by_seed(metric)
        return spread(list(values.values())) if len(values) == len(self.results) else None

    @property
    def parameters(self) -> int:
        """Trainable parameters of all networks."""
        return sum(self.results[0].parameters.values())


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


def machine_of(result: Result) -> str:
    """The processor and threads that trained a run."""
    return f"{result.machine.get('processor')} ({result.machine['threads']} thread(s))"


def collect(results: Sequence[Result]) -> Collection:
    """Sort results into rows; within a cohort only comparable ones are kept."""
    twins = {each.name: each for each in results if each.settings["training.phase"] == "2d"}
    notes: list[str] = []
    rows: dict[str, dict[int, Result]] = {}
    for each in results:
        if each.name in twins:
            continue
        key, problem = _row_of(each)
        if not problem and each.seed in rows.get(key, {}):
            problem = f"{rows[key][each.seed].name} is the same row and seed"
        if problem:
            notes.append(f"{each.name} is left out: {problem}.")
        else:
            rows.setdefault(key, {})[each.seed] = each
    kept: dict[str, Entry] = {}
    for cohort in dict.fromkeys(_cohort(key) for key in rows):
        part = {key: found for key, found in rows.items() if _cohort(key) == cohort}
        kept |= _comparable(part, notes)
    order = [*PRESETS, *OWN]
    return Collection({key: kept[key] for key in order if key in kept}, twins, tuple(notes))


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
    single = {
        (key, seed): Row(each.name, (EvaluatedRun(each.name, None, each.evaluations[-1], seed=seed),))
        for key, found in rows.items()
        for seed, each in found.items()
    }
    tables = sorted(separated(list(single.values())), key=len, reverse=True)
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
