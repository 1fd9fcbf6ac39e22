"""From snapshots back to networks: of a run that goes on, and of one that is sampled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voxflate.config.build import build_run_networks
from voxflate.config.schema import DEFAULT_MODEL, NetworkConfig, RunConfig
from voxflate.config.toml import load_config
from voxflate.data.prepared import PreparedSet
from voxflate._system.errors import VoxflateError
from voxflate.runs.facts import read_facts
from voxflate.runs.snapshots import list_snapshots, load_chosen, load_newest
from voxflate.gans.state import TrainingState


def load_state(state: TrainingState, run: Path, config: RunConfig, note: Callable[[str], None]) -> None:
    """Put the newest whole snapshot into the state, and say which were passed over and why.

    Raises:
        VoxflateError: If there is none, or it is that of other networks.
    """
    skipped: list[str] = []
    snapshot, path = load_newest(run, skipped.append)
    for reason in skipped:
        note(f"skipped {reason}")
    if skipped:
        note(f"going on from {path}")
    check_networks(snapshot, config, path)
    try:
        state.load_state_dict(snapshot)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise VoxflateError(f"{path}: does not fit the settings of {run}; start a new run") from error


def check_same_data(run: Path, config: RunConfig, prepared: PreparedSet) -> None:
    """Refuse to go on with other data than the run began with.

    Raises:
        VoxflateError: Names both.
    """
    known = read_facts(run)["data"] if list_snapshots(run) else prepared.content_hash
    if known != prepared.content_hash:
        raise VoxflateError(
            f"{config.data}: is not the data that {run} was trained on (sha256 "
            f"{prepared.content_hash[:12]}, was {known[:12]}); name that folder with --set data=FOLDER, or "
            "start a new run"
        )


def check_networks(snapshot: dict[str, Any], config: RunConfig, path: Path) -> None:
    """Refuse a snapshot of other networks; split and shuffled ones have equal shapes, so shapes do not tell.

    Raises:
        VoxflateError: Names the first setting that differs.
    """
    # Settings that came later than the snapshot had their defaults.
    network = NetworkConfig().model_dump(mode="json") | snapshot["network"]
    made = {"model": snapshot.get("model", DEFAULT_MODEL), **_dotted(network)}
    wanted = {"model": config.model, **_dotted(config.network.model_dump(mode="json"))}
    for name in sorted(made.keys() | wanted.keys()):
        if made.get(name) != wanted.get(name):
            raise VoxflateError(
                f"{path}: was made with {name} = {made.get(name)}, the settings say "
                f"{wanted.get(name)}; use the run's own config.toml, or start a new run"
            )


def _dotted(network: dict[str, Any]) -> dict[str, Any]:
    return {f"network.{name}": value for name, value in network.items()}


def load_generator(run: Path, which: str = "newest") -> tuple[Any, RunConfig, int]:
    """Load the averaged generator of a run's snapshot.

    Args:
        run: Run folder.
        which: "newest", or "best" by the kernel distance to the held-out volumes.

    Returns:
        The generator, in evaluation mode on the CPU; the run's settings; the images it has seen.

    Raises:
        VoxflateError: If there is no such snapshot, or it does not fit the run's configuration.
    """
    config = load_config(run)
    state, path = load_chosen(run, which)
    check_networks(state, config, path)
    return generator_of(config, state["ema"], path), config, int(state["n_images"])


def generator_of(config: RunConfig, weights: dict[str, Tensor], path: Path) -> Any:
    """Build a run's generator around weights from a file.

    Raises:
        VoxflateError: If they do not fit; memory is taken only if they do.
    """
    refusal = f"{path}: its networks are not those of its settings"
    try:
        with torch.device("meta"):  # sizes alone
            expected = build_run_networks(config)["generator"].state_dict()
        if {name: tensor.shape for name, tensor in expected.items()} != {
            name: tensor.shape for name, tensor in weights.items()
        }:
            raise VoxflateError(refusal)
        with torch.random.fork_rng(devices=[]):  # weights that are thrown away
            generator = build_run_networks(config)["generator"]
        generator.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError) as error:
        raise VoxflateError(refusal) from error
    return generator.eval().requires_grad_(False)
