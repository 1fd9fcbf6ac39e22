"""The command that makes two tables one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import join
from typing import Any

from voxflate._system.errors import VoxflateError
from voxflate.config.schema import EvaluationConfig
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.reports.rows import EvaluatedRun, Row, different
from voxflate.runs.chosen import find_snapshot

_FIXED = ("data", "shape")


def how_to_compare(tables: Sequence[Sequence[Row]]) -> list[str]:
    """How to measure the rows of a table like those of table 1, or the other way round; none if impossible.

    One sentence at most: commands for several pairs of tables could contradict each other.
    """
    for number, each in enumerate(tables[1:], start=2):
        if command := _command(tables[0], each):
            return [f"To put tables 1 and {number} together: {command}"]
    return []


def _command(table: Sequence[Row], other: Sequence[Row]) -> str:
    """Measures the runs of one of two tables again; "" if that cannot make them comparable."""
    names = different(table, other)
    if any(name in names for name in _FIXED):
        return ""
    ways = [(other, table), (table, other)]
    if "number of generated volumes" in names:
        ways.sort(key=lambda way: way[0][0].first.facts["n-generated"])  # more volumes are better
    for again, like in ways:
        runs = _only_in(again, like)
        options = _options(runs, like[0].first, names) if runs else None
        if options is not None:
            return _written(runs, options)
    return ""


def _only_in(table: Sequence[Row], other: Sequence[Row]) -> list[EvaluatedRun]:
    """The runs and exports of a table that are not in the other one as well."""
    there = {_identity(run) for row in other for run in row.runs}
    runs = [run for row in table for run in row.runs if not run.is_foreign]
    return [run for run in runs if _identity(run) not in there]


def _identity(run: EvaluatedRun) -> object:
    return run.facts.get("generator_sha256", run.label) if run.run is None else run.run.resolve()


def _options(runs: Sequence[EvaluatedRun], like: EvaluatedRun, names: Sequence[str]) -> list[str] | None:
    """The options that measure runs like another one, or like a folder of volumes; None if impossible."""
    own, its = runs[0].facts, like.facts
    if its.get("measurement", 1) != MEASUREMENT:  # this version would measure otherwise
        return None
    if any(run.other_data or "other_data" in run.facts for run in runs):
        return None
    found = _snapshot(runs, runs[0] if like.is_foreign or "snapshot" not in names else like)
    if found is None:
        return None
    if its["n-generated"] != its["n-real"] or "number of generated volumes" in names:
        found += ["--set", f"evaluation.samples={its['n-generated']}"]
    if (truncation := (own if like.is_foreign else its).get("truncation", 1.0)) != 1:
        found += ["--truncation", f"{truncation:g}"]
    if its["slices"] != 1:
        found += ["--slices", str(its["slices"])]
    network = _network(its)
    if network != _network(own) or network != EvaluationConfig().extractor:
        found += ["--extractor", network]
    return found


def _snapshot(runs: Sequence[EvaluatedRun], like: EvaluatedRun) -> list[str] | None:
    """The option that chooses a snapshot like that of a run; None if one of the runs does not have it."""
    budget = like.facts.get("budget_kimg")
    is_best = like.snapshot == "best"
    if is_best and any(run.facts.get("budget_kimg") != budget for run in runs):
        return None
    wanted = "best" if is_best else f"{like.facts['n_images'] / 1000:g}"
    folders = [run.run for run in runs if run.run is not None]
    if len(folders) < len(runs) and like not in runs:  # an export has one snapshot
        return None
    try:
        chosen = [find_snapshot(folder, wanted) for folder in folders]
        newest = [find_snapshot(folder, "newest") for folder in folders]
    except VoxflateError:
        return None
    return ["--snapshot", wanted] if folders and (is_best or chosen != newest) else []


def _network(facts: Mapping[str, Any]) -> str:
    return str(facts["extractors"][0]["name"])


def _written(runs: Sequence[EvaluatedRun], options: Sequence[str]) -> str:
    folders = [run.run for run in runs if run.run is not None]
    if len(folders) == len(runs):
        return join(["voxflate", "evaluate", *map(str, folders), *options])
    return f"evaluate {', '.join(run.label for run in runs)} again, with {join(options)}"
