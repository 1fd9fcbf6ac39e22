"""Which settings define a row: a result with others is none of its seeds, and not of the study's plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.plan import Run, Study, result_path
from voxflate._system.errors import VoxflateError
from voxflate.config.identity import of_the_row, setting_key
from voxflate.config.toml import from_dict
from voxflate.config.values import Values, flat, nested
from voxflate.evaluation.assessment import MEASUREMENT
from voxflate.reports.results import Result, read_result

_FIRST = ("training.kimg", "training.seed", "model", "network.architecture", "start.strategy")
"""Named before others in a message, because they say most."""

RowKey = tuple[str, str]
"""Equal for the seeds of a row: hashes of the settings in 3D and of those in 2D, "" if these are unknown."""


def row_settings(values: Values, origin: str) -> dict[str, Any]:
    """The settings that define a row, and the seed, by dotted key, in the current version.

    Folders, devices, threads, kept snapshots and evaluation settings do not count. Neither does the interval
    of snapshots in 2D: a 3D run starts from the last one. In 3D it counts, because the best snapshot is
    chosen among them; in 2D too, if the run may go back to one.

    Args:
        values: All settings of a result, also of an older version.
        origin: Where they come from, for messages.

    Raises:
        VoxflateError: If they are not settings of this version or an older one.
    """
    complete = flat(from_dict(nested(values), origin).model_dump(mode="json"))
    last_counts = complete["training.phase"] == "2d" and not complete["training.restores"]
    left_out = {"training.snapshot_kimg"} if last_counts else set()
    return {key: value for key, value in complete.items() if of_the_row(key) and key not in left_out}


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Keys of `row_settings` with different values, the most telling ones first."""
    keys = dict.fromkeys((*_FIRST, *wanted, *found))
    return [key for key in keys if found.get(key) != wanted.get(key)]


def row_key(result: Result, twins: Mapping[str, Result]) -> RowKey:
    """The key of a result's row; seeds do not count, neither its own nor that of its 2D run.

    Args:
        result: Of a 3D run.
        twins: Known results of 2D runs by name.
    """
    twin = twin_of(result, twins)
    own = setting_key(row_settings(result.settings, result.name))
    return own, "" if twin is None else setting_key(row_settings(twin.settings, twin.name))


def twin_of(result: Result, twins: Mapping[str, Result]) -> Result | None:
    """The result of the 2D run that a run started from; None if it has none, or its result is missing."""
    return twins.get(str(result.twin["name"])) if result.twin else None


def with_twins(runs: Sequence[Result], twins: Mapping[str, Result]) -> list[Result]:
    """Runs, and the 2D runs that they started from, each once."""
    started = {each.name: each for each in (twin_of(run, twins) for run in runs) if each is not None}
    return [*runs, *started.values()]


def planned_keys(runs: Sequence[Run]) -> dict[str, RowKey]:
    """Row -> the key that its results have by the plan."""
    settings = {run.name: setting_key(planned(run)) for run in runs if run.seed == 0}
    return {
        run.row: (settings[run.name], settings.get(run.twin, ""))
        for run in runs
        if run.phase == "3d" and run.seed == 0
    }


def planned(run: Run) -> dict[str, Any]:
    """The `row_settings` of a planned run."""
    return row_settings(flat(run.settings().model_dump(mode="json")), run.name)


def check_results(study: Study, runs: Sequence[Run]) -> None:
    """Refuse results that were made with other settings than the plan's, or measured by an earlier version.

    Raises:
        VoxflateError: Names the file and the first setting that differs.
    """
    for run in runs:
        path = result_path(study, run)
        if not path.is_file():
            continue
        result = read_result(path)
        found, wanted = row_settings(result.settings, str(path)), planned(run)
        if keys := differing(found, wanted):
            key = keys[0]
            raise VoxflateError(
                f"{path}: was made with {key} = {found.get(key)}, this study says {wanted.get(key)}; give "
                "the study another --out, or remove the file to train it again"
            )
        versions = [each.facts.get("measurement", 1) for each in result.evaluations]
        if versions and max(versions) < MEASUREMENT:
            raise VoxflateError(
                f"{path}: its metrics were measured by version {max(versions)}, this study takes version "
                f"{MEASUREMENT}, which gives other values; give the study another --out, or remove the file "
                "to train and measure it again"
            )
