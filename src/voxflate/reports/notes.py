"""The notes below a table of evaluated runs, and why there are several tables."""

from __future__ import annotations

from collections.abc import Sequence

from voxflate.config.paper_rows import PaperRow
from voxflate.reports.rows import EvaluatedRun, Row, difference
from voxflate.reports.tables import DASH, PLUS_MINUS, columns_of, paper_rows
from voxflate.reports.verdict import verdict
from voxflate.reports.without_folders import without_folders

_HEADS = "slice_discriminator_parameters"
_COLUMNS = (
    "PSNR-nearest: of a volume and the real one nearest to it. Flagged: share of volumes that the audit "
    f"takes for possible copies, in the first row of real people it has not seen; {DASH}: no audit "
    "with this data and truncation was found. Time: training alone, without metrics."
)


def notes(
    rows: Sequence[Row], wanted: Sequence[PaperRow] = (), *, explained: bool = True, shared: bool = False
) -> list[str]:
    """Notes below the table.

    Args:
        rows: As for `table`.
        wanted: As for `table`.
        explained: Whether to explain the columns; of several tables, those of the last one are enough.
        shared: Whether they go into a file for a paper, which must not name the user's folders.
    """
    facts = rows[0].first.facts
    runs = [run for row in rows for run in row.runs]
    cut = {f"truncation {run.facts.get('truncation', 1.0):g}" for run in runs if not run.is_foreign}
    found = [
        f"{facts['n-generated']} generated and {facts['n-real']} real volumes of "
        f"{'x'.join(map(str, facts['shape']))}, {', '.join([*cut, ''])}seed {facts['seed']}, "
        f"{facts['slices']} slice(s) per plane. {_intervals(runs)}{_seeds(rows)} "
        "The first row compares half of the real volumes with the other half, or pairs of real "
        "subjects."
    ]
    found += [
        f"Features: {network['name']}, {network['features']} numbers, weights (SHA-256) "
        f"{network['weights-sha256'][:12]}."
        for network in facts["extractors"]
    ]
    if explained:
        found.append(_COLUMNS)
    found += _other_counts(runs)
    if paper_rows(rows, wanted):
        found.append(
            "The rows of the paper (Table ...) are FIDs (Inception) on other data, at the snapshot with the "
            "best FID (decision 0010): compare their order, not their values."
        )
    found.append(f"Snapshots: {'; '.join(map(_snapshot, runs))}.")
    if named := [f"{run.label}: {run.evaluation}" for run in runs if run.evaluation]:
        found.append(f"Evaluations: {'; '.join(named)}.")
    found += verdict(rows, columns_of(rows)[3].metric).sentences
    found += [f"Warning: {run.label} {run.outdated}; evaluate it again." for run in runs if run.outdated]
    said = [run.other_data for run in runs if run.other_data]
    warnings = dict.fromkeys([*said, *(warning for run in runs for warning in run.assessment.warnings)])
    return found + [f"Warning: {without_folders(each) if shared else each}." for each in warnings]


def _intervals(runs: Sequence[EvaluatedRun]) -> str:
    """How the numbers in brackets were made."""
    draws = sorted({run.facts["replicates"] for run in runs} - {0})
    if not draws:
        return "No bootstrap intervals (--replicates 0); in brackets in the first row: range over halvings."
    counts = " or ".join(map(str, draws))
    without = ", ".join(run.label for run in runs if not run.facts["replicates"])
    none = f"; none of {without}" if without else ""
    return (
        f"In brackets: 95% bootstrap interval over subjects of one run ({counts} draws{none}); in the "
        "first row, for distances: range over halvings."
    )


def _seeds(rows: Sequence[Row]) -> str:
    several = any(len(row.runs) > 1 for row in rows)
    return f" {PLUS_MINUS}: standard deviation over seeds." if several else ""


def _other_counts(runs: Sequence[EvaluatedRun]) -> list[str]:
    """What #param leaves out, or does not because of an older evaluation of an export."""
    heads = sorted({count for run in runs if (count := run.facts.get(_HEADS))})
    said = ", ".join(f"{count / 1e6:.3f}M" for count in heads)
    found = (
        [f"#param leaves out the slice discriminator, which only training needs: {said}."] if heads else []
    )
    if unsure := [run.label for run in runs if run.parameters is not None and _HEADS not in run.facts]:
        names = ", ".join(unsure)
        found.append(f"#param of {names} may include a slice discriminator: evaluated by an earlier version.")
    return found


def why_separate(tables: Sequence[Sequence[Row]]) -> list[str]:
    """The reasons for several tables, one sentence each."""
    return [
        f"Table {number} is separate from table 1, because its rows are not comparable: "
        f"{difference(tables[0], each)}."
        for number, each in enumerate(tables[1:], start=2)
    ]


def _snapshot(run: EvaluatedRun) -> str:
    """The measured generator, in words."""
    facts = run.facts
    if run.is_foreign:
        return f"{run.label} has none: it is a folder of {facts['n-generated']} volumes"
    weights = f", weights {facts['generator_sha256'][:12]}" if "generator_sha256" in facts else ""
    chosen = f" ({run.snapshot})" if run.snapshot else ""
    return f"{run.label} after {facts['n_images'] / 1000:g} kimg{chosen}{weights}"
