"""Rows of a table: evaluated runs grouped by setting, and which rows may share a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.config.paper_rows import PaperRow
from voxflate.evaluation.assessment import Assessment, Metric
from voxflate.evaluation.seeds import Spread, spread

_SEED_AT_END = re.compile(r"([-_. /]*(s|seed))?[-_. /]*$")


@dataclass(frozen=True)
class EvaluatedRun:
    """One evaluation of a run, an export or a folder of volumes.

    Attributes:
        label: Short name.
        parameters: Trainable parameters of all its networks but the slice discriminator; None if unknown.
        assessment: The result of `voxflate evaluate`.
        paper: The paper's row of its preset, or None.
        outdated: A remark if the run was trained further since; else "".
        other_data: A remark if it was measured, or is shown, with other data than it should; else "".
        setting: A key that is equal for runs that differ only in their seed; "" if the settings are unknown.
        seed: Seed of the run; None if unknown.
        run: The run's folder; None for an export or a folder of volumes.
        evaluation: Which of its evaluations it is, in words; "" if that is clear.
        audit: The content of its audit.json; None if it was not audited in the same way.
    """

    label: str
    parameters: int | None
    assessment: Assessment
    paper: PaperRow | None = None
    outdated: str = ""
    other_data: str = ""
    setting: str = ""
    seed: int | None = None
    run: Path | None = None
    evaluation: str = ""
    audit: Mapping[str, Any] | None = None

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts that its metrics depend on."""
        return self.assessment.facts

    @property
    def is_foreign(self) -> bool:
        """Whether it is a folder of volumes, which has no training and no snapshots."""
        return self.facts.get("source") == "volumes"

    @property
    def snapshot(self) -> str:
        """How the evaluated snapshot was chosen; in older evaluations it is the newest."""
        return str(self.facts.get("snapshot", "newest"))

    @property
    def flagged(self) -> float | None:
        """Share of the audited volumes that may be copies; None if there is no audit."""
        return None if self.audit is None else len(self.audit["flagged"]) / self.audit["n-generated"]

    @property
    def false_alarms(self) -> float | None:
        """Share of real people that the audit flags; None if it was not measured."""
        return None if self.audit is None else self.audit.get("false-alarms")


@dataclass(frozen=True)
class Row:
    """Evaluations of one setting, one per seed.

    Attributes:
        label: Its name in the table.
        runs: At least one, sorted by seed.
    """

    label: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def first(self) -> EvaluatedRun:
        """The run with the lowest seed."""
        return self.runs[0]

    def metric(self, name: str) -> Metric | None:
        """A metric with its interval; only for a single run."""
        return self.first.assessment.metrics.get(name) if len(self.runs) == 1 else None

    def spread(self, name: str) -> Spread | None:
        """A metric over the seeds; None if a run lacks it."""
        values = [run.assessment.value(name) for run in self.runs]
        known = [value for value in values if value is not None]
        return spread(known) if len(known) == len(values) else None

    def by_seed(self, name: str) -> dict[int, float]:
        """Seed -> metric, for the runs that have both."""
        values = ((run.seed, run.assessment.value(name)) for run in self.runs)
        return {seed: value for seed, value in values if seed is not None and value is not None}


def grouped(
    runs: Sequence[EvaluatedRun], named: Mapping[str, Sequence[EvaluatedRun]] | None = None
) -> list[Row]:
    """Group seeds of one setting into one row, in the order of their first runs.

    Runs of the same setting that cannot be compared (other data, other numbers) stay separate, and so does a
    second run with the same seed or the same weights, which is not independent.

    Args:
        runs: Evaluated runs, grouped by their settings.
        named: Rows that the user grouped, by label.

    Raises:
        VoxflateError: If runs of a user's row cannot be compared, or two have the same seed or weights.
    """
    parts: dict[tuple[Any, ...], list[EvaluatedRun]] = {}
    for number, run in enumerate(runs):
        known = run.setting and run.seed is not None
        key = (run.setting, *table_key(run).values()) if known else (number,)
        twice = any(_is_again(run, other) for other in parts.get(key, ()))
        parts.setdefault((*key, number) if twice else key, []).append(run)
    found = [Row(_shared_label(part), _by_seed(part)) for part in parts.values()]
    for label, part in (named or {}).items():
        _check_named(label, part)
        found.append(Row(label, _by_seed(part)))
    return found


def table_key(run: EvaluatedRun) -> dict[str, Any]:
    """The facts that must be equal for two rows to share a table, in words."""
    facts = run.facts
    network = facts["extractors"][0]
    key: dict[str, Any] = {
        "number of generated volumes": facts["n-generated"],
        "data": facts["data"],
        "shape": tuple(facts["shape"]),
        "slices per plane": facts["slices"],
        "feature network": (network["name"], network["weights-sha256"]),
        "version of the measurement": facts.get("measurement", 1),
    }
    if run.is_foreign:
        return key
    key["truncation"] = facts.get("truncation", 1.0)
    if run.snapshot == "best":
        return key | {"snapshot": f"best of {facts.get('budget_kimg', '?')} kimg"}
    return key | {"snapshot": f"after {facts['n_images'] / 1000:g} kimg"}


def separated(rows: Sequence[Row]) -> list[list[Row]]:
    """Split rows into tables of comparable rows, in the order of their first rows.

    A folder of volumes has no truncation and no snapshot: it is in every table that matches the rest of its
    key.
    """
    tables: dict[tuple[Any, ...], list[Row]] = {}
    foreign = [row for row in rows if row.first.is_foreign]
    for row in rows:
        if not row.first.is_foreign:
            tables.setdefault(tuple(table_key(row.first).values()), []).append(row)
    for row in foreign:
        own = tuple(table_key(row.first).values())
        fitting = [table for key, table in tables.items() if key[: len(own)] == own]
        for table in fitting or [tables.setdefault(own, [])]:
            table.append(row)
    return list(tables.values())


def difference(table: Sequence[Row], other: Sequence[Row]) -> str:
    """Why two tables are separate, such as "other data, other snapshot (after 5 kimg, after 10 kimg)"."""
    mine, its = table_key(table[0].first), table_key(other[0].first)
    parts = []
    for name in different(table, other):
        values = [f"{each:g}" if isinstance(each, float) else each for each in (mine[name], its[name])]
        plain = name != "data" and all(isinstance(each, int | str) for each in values)
        parts.append(f"other {name}" + (f" ({values[0]} and {values[1]})" if plain else ""))
    return ", ".join(parts)


def different(table: Sequence[Row], other: Sequence[Row]) -> list[str]:
    """The names of the facts that keep two tables apart, as in `table_key`."""
    mine, its = table_key(table[0].first), table_key(other[0].first)
    return [name for name in mine if name in its and mine[name] != its[name]]


def _check_named(label: str, runs: Sequence[EvaluatedRun]) -> None:
    seeds = [run.seed for run in runs if run.seed is not None]
    if len(set(seeds)) < len(seeds):
        raise VoxflateError(
            f"--group {label}: two of its runs have the same seed; a row takes each seed once"
        )
    made = [run.facts["generator_sha256"] for run in runs if "generator_sha256" in run.facts]
    if len(set(made)) < len(made):
        raise VoxflateError(
            f"--group {label}: two of its runs have the same weights; a row takes each generator once"
        )
    for run in runs[1:]:
        if table_key(run) != table_key(runs[0]):
            reason = difference([Row("", (runs[0],))], [Row("", (run,))])
            raise VoxflateError(
                f"--group {label}: {runs[0].label} and {run.label} are not comparable: {reason}; evaluate "
                "them alike"
            )


def _is_again(run: EvaluatedRun, other: EvaluatedRun) -> bool:
    """Whether two evaluations are of one seed, or of one generator whatever seed they name."""
    made = run.facts.get("generator_sha256")
    return run.seed == other.seed or (made is not None and made == other.facts.get("generator_sha256"))


def _by_seed(runs: Sequence[EvaluatedRun]) -> tuple[EvaluatedRun, ...]:
    return tuple(sorted(runs, key=lambda run: -1 if run.seed is None else run.seed))


def _shared_label(runs: Sequence[EvaluatedRun]) -> str:
    """The common part of the seeds' names: "inflate-1" for "inflate-1-s0" and "inflate-1-s1"."""
    labels = [run.label for run in runs]
    if len(labels) == 1:
        return labels[0]
    shared = len(labels[0])
    while any(label[:shared] != labels[0][:shared] for label in labels):
        shared -= 1
    return _SEED_AT_END.sub("", labels[0][:shared]) or ", ".join(labels)
