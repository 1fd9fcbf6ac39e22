"""Verifies a run or an export: data, weights and samples against the recorded hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from voxflate._system.errors import VoxflateError
from voxflate.config.identity import NOT_OF_THE_ROW
from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.config.values import flat
from voxflate.data.labels import JointLabels, joint_labels
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.nn.run_stage import kernels_in_use, use_kernels
from voxflate.runs import history
from voxflate.runs.chosen import Snapshot, find_snapshot
from voxflate.runs.exported import (
    WEIGHTS,
    Exported,
    is_exported,
    read_exported,
    read_weights,
    weights_sha256,
)
from voxflate.runs.facts import environment, read_facts
from voxflate.runs.fingerprint import ROUNDING, difference, fingerprint, fixed_samples
from voxflate.runs.load import check_exported_snapshot, check_networks, generator_of
from voxflate.runs.log import SNAPSHOTS_NAME, read_rows
from voxflate.runs.shipped import locate
from voxflate.runs.snapshots import list_snapshots, load_snapshot
from voxflate.runs.trained_on import TrainedOn, check_trained_on, open_data

_DECIDE_NO_RESULT = (*NOT_OF_THE_ROW, "evaluation.every", "evaluation.diversity_floor")
"""Settings that may differ from the recorded ones: no weight depends on them, except for rounding."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: What was checked.
        matches: Whether it is as recorded; None if nothing was recorded, or a difference is not an error.
        found: The result in words.
    """

    name: str
    matches: bool | None
    found: str


def verify_folder(
    folder: Path,
    data: Path | None = None,
    progress: Progress = lambda done, total: None,
    snapshot: Snapshot | None = None,
) -> list[Check]:
    """Verify a run, an export, or a generator included in the package, by its name.

    See `verify_run` and `verify_export`.
    """
    folder = locate(folder)
    if is_exported(folder):
        return verify_export(folder, data, progress, snapshot)
    return verify_run(folder, data, progress, snapshot)


def verify_run(
    run: Path,
    data: Path | None = None,
    progress: Progress = lambda done, total: None,
    snapshot: Snapshot | None = None,
) -> list[Check]:
    """Recompute a run's hashes and the samples of its snapshots.

    Meanwhile the number of threads is set to the recorded one, because it changes the order of sums.

    Args:
        run: Run folder.
        data: Folder of its prepared set; None to use the one named in the run.
        progress: Called with (checks done, all checks).
        snapshot: Snapshot to verify; None for all.

    Returns:
        All checks; the run matches if none has `matches` False.

    Raises:
        VoxflateError: If it is not a run folder, has no such snapshot, or its data cannot be opened.
    """
    config, facts, snapshots = load_config(run), read_facts(run), list_snapshots(run)
    if not snapshots:
        raise VoxflateError(f"{run}: no snapshot to verify; has the run started?")
    if snapshot is not None:
        snapshots = [find_snapshot(run, snapshot)]
    recorded = {row["n_images"]: row for row in read_rows(run / SNAPSHOTS_NAME)}
    prepared = open_data(data or config.data, data is not None)
    told = _labels(config, prepared, TrainedOn.of_run(run), run)
    labels = joint_labels(prepared) if all(check.matches for check in told) else None

    def checks() -> Iterator[list[Check]]:
        yield [_environment(facts), *_settings(config, facts)]
        yield [_data(facts["data"], prepared), *told]
        for path in snapshots:
            yield _snapshot(path, config, recorded, labels)

    return _collect(checks(), 2 + len(snapshots), max(1, facts["threads"]), config, progress)


def verify_export(
    folder: Path,
    data: Path | None = None,
    progress: Progress = lambda done, total: None,
    snapshot: Snapshot | None = None,
) -> list[Check]:
    """Recompute the hash of an export's weights and the samples of its generator.

    Args:
        folder: The export.
        data: The prepared set that it was trained on; None leaves the data unchecked and reports that.
        progress: Called with (checks done, all checks).
        snapshot: Refused if it is not the export's snapshot.

    Returns:
        All checks; the export matches if none has `matches` False.

    Raises:
        VoxflateError: If its `config.json` is damaged, it has another snapshot, or the data cannot be
            opened.
    """
    exported = read_exported(folder)
    if snapshot is not None:
        check_exported_snapshot(exported, snapshot)

    def checks() -> Iterator[list[Check]]:
        if data is None:
            yield [Check("data", None, "not checked: an export has no data; give it with --data FOLDER")]
        else:
            prepared, known = open_prepared(data), TrainedOn.of_export(exported)
            told = _labels(exported.settings, prepared, known, folder)
            yield [_data(known.content, prepared), *told]
        yield _export(exported)

    return _collect(checks(), 2, torch.get_num_threads(), exported.settings, progress)


def _collect(
    checks: Iterator[list[Check]], total: int, threads: int, config: RunConfig, progress: Progress
) -> list[Check]:
    """Run the checks with a number of threads and the run's choice of kernels."""
    before = torch.get_num_threads()
    found: list[Check] = []
    try:
        torch.set_num_threads(threads)
        use_kernels(config.training.kernels)
        for done, some in enumerate(checks, start=1):
            found.extend(some)
            progress(done, total)
    finally:
        torch.set_num_threads(before)
    return found


def _environment(facts: dict[str, Any]) -> Check:
    """Compare every process that trained the run: each has made some of the snapshots."""
    here = environment() | {"threads": facts["threads"], "kernels": kernels_in_use()}
    changes: dict[str, None] = {}
    for session in facts.get("sessions") or [facts]:
        pairs = {name: (session.get("versions", {}).get(name), now) for name, now in here["versions"].items()}
        pairs |= {name: (session.get(name), here[name]) for name in ("machine", "kernels", "threads")}
        pairs["device"] = (session.get("gpu") or session.get("device", "cpu"), "cpu")
        changes |= {f"{name} {then} -> {now}": None for name, (then, now) in pairs.items() if then != now}
    if changes:
        return Check("environment", None, f"bitwise differences are expected here: {', '.join(changes)}")
    return Check("environment", True, f"the same versions, machine and {facts['threads']} threads")


def _settings(config: RunConfig, facts: dict[str, Any]) -> list[Check]:
    """Check the changes of settings during the run, and that `config.toml` has the last settings."""
    entries = facts.get("settings", [])
    if not entries:
        return [Check("settings", None, "no changes recorded: the run is older than this record")]
    recorded, now = history.settings_of(entries), flat(config.model_dump(mode="json"))
    differing = [key for key in now if key in recorded and now[key] != recorded[key]]
    differing = [key for key in differing if key not in _DECIDE_NO_RESULT]
    if differing:
        key = differing[0]
        return [Check("settings", False, f"config.toml has {key} = {now[key]}, trained with {recorded[key]}")]
    found = [Check("settings", None, str(change)) for change in history.later(entries)]
    return found or [Check("settings", True, "never changed")]


def _data(expected: str, prepared: PreparedSet) -> Check:
    try:
        prepared.verify()
    except VoxflateError as error:
        return Check("data", False, str(error))
    if prepared.content_hash != expected:
        found = f"{prepared.root} has sha256 {prepared.content_hash[:12]}, not {expected[:12]}"
        return Check("data", False, found)
    return Check("data", True, f"sha256 {expected[:12]}, recomputed from every voxel")


def _labels(config: RunConfig, prepared: PreparedSet, known: TrainedOn, folder: Path) -> list[Check]:
    """Check the labels, which the hash of the data does not cover; nothing if the networks know none."""
    if not config.network.label_width:
        return []
    if remark := check_trained_on(prepared, known, folder, labels=True, go_on=True):
        return [Check("labels", False, remark)]
    values = "their values are not recorded" if known.labels is None else f"sha256 {known.labels[:12]}"
    return [Check("labels", True, f"the same columns; {values}")]


def _snapshot(
    path: Path, config: RunConfig, recorded: dict[int, dict[str, Any]], labels: JointLabels | None
) -> list[Check]:
    try:
        state = load_snapshot(path)
        check_networks(state, config, path)
        generator = generator_of(config, state["ema"], path)
    except VoxflateError as error:
        return [Check(path.name, False, str(error))]
    whole = Check(
        path.name, True, f"checksum and settings match; weights {weights_sha256(state['ema'])[:12]}"
    )
    name = f"samples of {path.name}"
    row = recorded.get(state["n_images"], {})
    if not isinstance(row.get("probes"), list):
        return [whole, Check(name, None, "none recorded: it was saved when the run was stopped")]
    if config.network.label_width and labels is None:
        return [whole, Check(name, None, "not compared: they need the labels of the training data")]
    return [whole, _samples(name, config, generator, row, labels)]


def _export(exported: Exported) -> list[Check]:
    try:
        generator = generator_of(exported.settings, read_weights(exported), exported.folder)
    except VoxflateError as error:
        return [Check(WEIGHTS, False, str(error))]
    whole = Check(WEIGHTS, True, f"checksum and settings match; weights {exported.weights_sha256[:12]}")
    recorded = exported.samples or {}
    if not isinstance(recorded.get("probes"), list):
        return [whole, Check("samples", None, "none recorded: an older version exported it")]
    return [whole, _samples("samples", exported.settings, generator, recorded, exported.labels)]


def _samples(
    name: str, config: RunConfig, generator: Any, recorded: Mapping[str, Any], labels: JointLabels | None
) -> Check:
    """Compare the fixed samples with their record."""
    images = fixed_samples(config, generator, labels)
    if fingerprint(images)["sample-sha256"] == recorded.get("sample-sha256"):
        return Check(name, True, "bitwise equal")
    apart = difference(images, recorded["probes"])
    return Check(name, apart <= ROUNDING, f"not bitwise equal, voxels differ by up to {apart:.2g}")
