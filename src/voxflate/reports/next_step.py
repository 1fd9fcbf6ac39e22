"""The command that makes two tables one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import join
from typing import Any

from voxflate.config.schema import EvaluationConfig
from voxflate.reports.rows import EvaluatedRun, Row, different

_FIXED = ("data", "shape")


def how_to_compare(tables: Sequence[Sequence[Row]]) -> list[str]:
    """How to measure the rows of every other table like those of table 1, one sentence each, if possible."""
    found = []
    for number, each in enumerate(tables[1:], start=2):
        if command := _command(tables[0], each):
            found.append(f"To put tables 1 and {number} together: {command}")
    return found


def _command(table: Sequence[Row], other: Sequence[Row]) -> str:
    """Measures the runs of one of two tables again; "" if that cannot make them comparable."""
    names = different(table, other)
    if any(name in names for name in _FIXED):
        return ""
    ways = [(other, table), (table, other)]
    if "number of generated volumes" in names:
        ways.sort(key=lambda way: way[0][0].first.facts["n-generated"])  # more volumes are better
    for again, like in ways:
        runs = [run for row in again for run in row.runs if not run.is_foreign]
        options = _options(runs[0], like[0].first, names) if runs else None
        if options is not None:
            return _written(runs, options)
    return ""


def _options(run: EvaluatedRun, like: EvaluatedRun, names: Sequence[str]) -> list[str] | None:
    """The options that measure a run like another one, or like a folder of volumes; None if impossible."""
    own, its = run.facts, like.facts
    found = [] if like.is_foreign else _snapshot(run, like, names)
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


def _snapshot(run: EvaluatedRun, like: EvaluatedRun, names: Sequence[str]) -> list[str] | None:
    if "snapshot" not in names:
        return ["--snapshot", "best"] if run.snapshot == "best" else []
    if like.snapshot == "best":
        return None if run.snapshot == "best" else ["--snapshot", "best"]  # best of another budget
    images = like.facts["n_images"]
    return ["--snapshot", f"{images / 1000:g}"] if run.facts["n_images"] > images else None


def _network(facts: Mapping[str, Any]) -> str:
    return str(facts["extractors"][0]["name"])


def _written(runs: Sequence[EvaluatedRun], options: Sequence[str]) -> str:
    folders = [run.run for run in runs if run.run is not None]
    if len(folders) == len(runs):
        return join(["voxflate", "evaluate", *map(str, folders), *options])
    return f"evaluate {', '.join(run.label for run in runs)} again, with {join(options)}"
