"""Which settings define a row, and which 2D run a result belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.plan import Run
from voxflate.config.identity import of_the_row, setting_key
from voxflate.config.toml import from_dict
from voxflate.config.values import Values, flat, nested
from voxflate.reports.results import Result

_FIRST = ("training.kimg", "training.seed", "model", "network.architecture", "start.strategy")
"""Named before others in a message, because they say most."""

_CHANGES = "changes half-way"
"""Among the settings of a row: the last ones alone would be those of a run that had them from the start."""

RowKey = tuple[str, str]
"""Equal for the seeds of a row: hashes of the settings in 3D and of those in 2D, "" if these are unknown."""


def row_settings(values: Values, origin: str, changes: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The settings that define a row, the seed, and the changes during the run, in the current version.

    Folders, devices, threads, kept snapshots and evaluation settings do not count. Neither does the interval
    of snapshots in 2D: a 3D run starts from the last one. In 3D it counts, because the best snapshot is
    chosen among them; in 2D too, if the run may go back to one.

    Args:
        values: All settings of a result, also of an older version.
        origin: Where they come from, for messages.
        changes: `Result.changes`.

    Raises:
        VoxflateError: If they are not settings of this version or an older one.
    """
    complete = flat(from_dict(nested(values), origin).model_dump(mode="json"))
    last_counts = complete["training.phase"] == "2d" and not complete["training.restores"]
    left_out = {"training.snapshot_kimg"} if last_counts else set()
    kept = {key: value for key, value in complete.items() if of_the_row(key) and key not in left_out}
    said = [
        "{key} {before} -> {after} from {n_images} images".format_map(each)
        for each in changes
        if each["key"] not in left_out
    ]
    return kept | {_CHANGES: ", ".join(said) or "none"}


def settings_of(result: Result) -> dict[str, Any]:
    """The `row_settings` of a result."""
    return row_settings(result.settings, result.name, result.changes)


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
    return setting_key(settings_of(result)), "" if twin is None else setting_key(settings_of(twin))


def twin_of(result: Result, twins: Mapping[str, Result]) -> Result | None:
    """The result of the 2D run that a run started from; None if it has none, or a `twin_problem`."""
    if not result.twin or twin_problem(result, twins):
        return None
    return twins[str(result.twin["name"])]


def twin_problem(result: Result, twins: Mapping[str, Result]) -> str:
    """Why the 2D run of a result is not known; "" if it is, or if there is none.

    A 2D run that was trained again has the same name. Its weights tell, where both results have their hash.
    """
    if not result.twin:
        return ""
    twin = twins.get(str(result.twin["name"]))
    if twin is None:
        return "is missing"
    hashes = result.twin.get("weights_sha256"), twin.weights_sha256
    return "has other weights than this run started from" if all(hashes) and len({*hashes}) > 1 else ""


def joined_by_name(runs: Sequence[Result], twins: Mapping[str, Result]) -> list[str]:
    """Names of the runs whose 2D run is only known by its name, because a hash is missing."""
    pairs = [(run, run.twin, twin_of(run, twins)) for run in runs]
    return [
        run.name
        for run, started, twin in pairs
        if started and twin and not (started.get("weights_sha256") and twin.weights_sha256)
    ]


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
