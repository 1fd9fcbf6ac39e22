"""Whether a run is still what it was: data, snapshots and samples against what was recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from voxflate.config.schema import RunConfig
from voxflate.config.toml import load_config
from voxflate.data.prepared import open_prepared
from voxflate._system.errors import VoxflateError
from voxflate.nn.compiled import use_kernels
from voxflate.runs.facts import environment, read_facts
from voxflate.runs.fingerprint import ROUNDING, difference, fingerprint, fixed_samples
from voxflate.runs.load import check_networks, generator_of
from voxflate.runs.log import SNAPSHOTS_NAME, read_rows
from voxflate.runs.snapshots import list_snapshots, load_snapshot


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        matches: Whether it is as recorded; None where nothing was recorded, or a difference is no fault.
        found: In words.
    """

    name: str
    matches: bool | None
    found: str


def verify_run(
    run: Path, data: Path | None = None, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Check]:
    """Recompute a run's hashes and what its snapshots generate.

    Threads are set to the recorded number meanwhile: sums come out in another order with another.

    Args:
        run: Run folder.
        data: Where its prepared set lies now; None where the run says.
        progress: Called with (checks done, checks in all).

    Returns:
        All checks; the run matches if none has `matches` False.

    Raises:
        VoxflateError: If it is no run folder, or its data cannot be opened.
    """
    config, facts, snapshots = load_config(run), read_facts(run), list_snapshots(run)
    if not snapshots:
        raise VoxflateError(f"{run}: no snapshot to verify; has it trained?")
    total = 2 + len(snapshots)
    threads = torch.get_num_threads()
    checks: list[Check] = []
    try:
        torch.set_num_threads(max(1, facts["threads"]))
        use_kernels(config.training.kernels)
        for done, found in enumerate(_checks(run, config, facts, snapshots, data), start=1):
            checks.extend(found)
            progress(done, total)
    finally:
        torch.set_num_threads(threads)
    return checks


def _checks(
    run: Path, config: RunConfig, facts: dict[str, Any], snapshots: list[Path], data: Path | None
) -> Iterator[list[Check]]:
    yield [_environment(facts)]
    yield [_data(facts["data"], data or Path(config.data))]
    recorded = {row["n_images"]: row for row in read_rows(run / SNAPSHOTS_NAME)}
    for path in snapshots:
        yield _snapshot(path, config, recorded)


def _environment(facts: dict[str, Any]) -> Check:
    here = environment()
    pairs = {name: (facts["versions"].get(name), version) for name, version in here["versions"].items()}
    pairs |= {name: (facts.get(name), here[name]) for name in ("machine", "kernels")}
    changes = [f"{name} {then} -> {now}" for name, (then, now) in pairs.items() if then != now]
    if changes:
        return Check("environment", None, f"other bits are no fault here: {', '.join(changes)}")
    return Check("environment", True, f"the same versions, machine and {facts['threads']} threads")


def _data(expected: str, folder: Path) -> Check:
    prepared = open_prepared(folder)
    try:
        prepared.verify()
    except VoxflateError as error:
        return Check("data", False, str(error))
    if prepared.content_hash != expected:
        return Check("data", False, f"{folder} has sha256 {prepared.content_hash[:12]}, not {expected[:12]}")
    return Check("data", True, f"sha256 {expected[:12]}, recomputed from every voxel")


def _snapshot(path: Path, config: RunConfig, recorded: dict[int, dict[str, Any]]) -> list[Check]:
    try:
        state = load_snapshot(path)
        check_networks(state, config, path)
        generator = generator_of(config, state["ema"], path)
    except VoxflateError as error:
        return [Check(path.name, False, str(error))]
    whole = Check(path.name, True, "checksum and settings match")
    row = recorded.get(state["n_images"], {})
    name = f"samples of {path.name}"
    if not isinstance(row.get("probes"), list):
        return [whole, Check(name, None, "none recorded: it was saved when the run was stopped")]
    images = fixed_samples(config, generator)
    if fingerprint(images)["sample-sha256"] == row.get("sample-sha256"):
        return [whole, Check(name, True, "the same bits")]
    apart = difference(images, row["probes"])
    return [whole, Check(name, apart <= ROUNDING, f"other bits, voxels differ by up to {apart:.2g}")]
