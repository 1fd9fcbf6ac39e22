"""Notes below a study's tables: what the numbers were measured on, and how rows differ in their training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.cells import by_run
from studies.collect import Entry, results_of
from studies.settings import row_settings
from voxflate.reports.results import Result

_RATES = {
    "training.lr_g": "generator",
    "training.lr_d": "discriminator",
    "training.lr_decay": "decays to a factor of",
    "slice_discriminator.lr_s": "slice discriminator",
}

_ABOUT_THE_CHOICE = ("this snapshot was chosen by", "the held-out KID chose this snapshot")
"""How warnings begin that `CHOSEN_BY_KID`, or an earlier version, gave the best snapshot."""


_BIASED = "Frechet distances are biased upwards"
"""In a warning that a table's caption has."""


def measured_on(entries: Sequence[Entry]) -> str:
    """How rows that may share a table were evaluated."""
    evaluated = [each.evaluations[-1].facts for each in results_of(entries)]
    facts, network = evaluated[0], evaluated[0]["extractors"][0]
    seeds = sorted({str(each["seed"]) for each in evaluated if "seed" in each})
    seed = f", seed {' and '.join(seeds)}" if seeds else ""
    chosen = (
        "the snapshot with the smallest KID to held-out volumes"
        if facts.get("snapshot") == "best"
        else "the last snapshot"
    )
    found = (
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{'x'.join(map(str, facts['shape']))}{seed}, {facts['slices']} slice(s) per plane; features of "
        f"{network['name']}, weights (SHA-256) {_short(network['weights-sha256'])}; {chosen}. "
        f"Data (SHA-256) {_short(facts['data'])}."
    )
    if not share_a_2d_run(entries):
        return found
    return (
        f"{found} The seeds of a row of the paper share its 2D run, so deviations do not contain what "
        "another 2D run changes."
    )


def share_a_2d_run(entries: Sequence[Entry]) -> bool:
    """Whether there is a row whose seeds all started from one 2D run."""

    def shared(twins: Sequence[Mapping[str, Any] | None]) -> bool:
        started = [each for each in twins if each]
        hashes = {each.get("weights_sha256") for each in started} - {None}  # older results have none
        return len(twins) == len(started) > 1 and len({each["name"] for each in started}) == 1 >= len(hashes)

    return any(shared([each.twin for each in entry.results]) for entry in entries)


def measured_at_snapshots(entries: Sequence[Entry]) -> list[str]:
    """How the metrics at the snapshots were measured; nothing if the results do not say it."""
    said = [(each.name, _at_snapshots(each)) for each in results_of(entries)]
    found = by_run((name, words) for name, words in said if words)
    return [f"Metrics at snapshots: {found}."] if found else []


def _at_snapshots(result: Result) -> str:
    last: dict[str, Any] = {
        name: next((value for value in reversed(column) if value is not None), None)
        for name, column in result.snapshots.items()
    }
    if last.get("extractor") is None or last.get("weights-sha256") is None:
        return ""
    numbers = f"{last.get('n-generated')} generated and {last.get('n-real')} real volumes"
    seed = "" if last.get("sample-seed") is None else f", seed {last['sample-seed']}"
    network = f"{last['extractor']}, weights (SHA-256) {_short(last['weights-sha256'])}"
    return f"{numbers}{seed}, features of {network}"


def warnings(entries: Sequence[Entry], shown: Sequence[str], evaluated: bool = True) -> list[str]:
    """The evaluations' own warnings, with the runs where not all have one.

    Those of `bias` are left out.

    Args:
        entries: Rows of a table.
        shown: Feature networks that it shows; warnings about others are left out.
        evaluated: Whether its distances are of the evaluated snapshots. Otherwise, warnings about the choice
            of these are left out.
    """
    found = _warnings(entries, shown, () if evaluated else _ABOUT_THE_CHOICE)
    return [f"Warning{runs}: {words}." for words, runs in found if not _is_bias(entries, words)]


def bias(entries: Sequence[Entry]) -> list[str]:
    """The evaluations' own warning that few volumes bias the distances of the leading feature network."""
    found = _warnings(entries, [entries[0].extractor])
    return [f"{words}{runs}." for words, runs in found if _is_bias(entries, words)]


def _is_bias(entries: Sequence[Entry], words: str) -> bool:
    return words.startswith(f"{entries[0].extractor}: ") and _BIASED in words


def _warnings(
    entries: Sequence[Entry], shown: Sequence[str], left_out: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    """Warnings, each with the runs that have it in brackets, unless all have it."""
    results = results_of(entries)
    found: dict[str, list[str]] = {}
    for result in results:
        evaluation = result.evaluations[-1]
        names = [str(each["name"]) for each in evaluation.facts["extractors"]]
        others = tuple(f"{name}: " for name in names if name not in shown)
        for words in evaluation.warnings:
            if not words.startswith((*others, *left_out)):
                found.setdefault(words, []).append(result.name)
    return [
        (words, "" if len(names) == len(results) else f" ({', '.join(names)})")
        for words, names in found.items()
    ]


def learning_rates(rows: Sequence[tuple[str, Entry]]) -> list[str]:
    """The learning rates that are not the same in all rows.

    Args:
        rows: (name in the table, row).
    """
    settings = [(label, row_settings(entry.results[0].settings, label)) for label, entry in rows]
    differing = [key for key in _RATES if len({values.get(key) for _, values in settings}) > 1]
    groups: dict[str, list[str]] = {}
    for label, values in settings:
        rates = ", ".join(f"{_RATES[key]} {values[key]:g}" for key in differing)
        groups.setdefault(rates.capitalize(), []).append(label)
    if not differing:
        return []
    said = (f"{rates}: {'; '.join(labels)}." for rates, labels in groups.items())  # labels have commas
    return [f"Learning rates differ. {' '.join(said)}"]


def _short(digest: object) -> str:
    return str(digest)[:12]
