"""`run.json`: everything besides the settings that a run's results depend on, to repeat or verify them."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxflate._system.cores import available_cores, processor_name
from voxflate._system.devices import described
from voxflate._system.errors import VoxflateError
from voxflate._system.files import read_json, write_json
from voxflate._system.version import __version__, source_hash
from voxflate.config.schema import RunConfig
from voxflate.config.toml import CONFIG_NAME, load_config
from voxflate.config.values import flat
from voxflate.data.labels import labels_sha256
from voxflate.data.prepared import PreparedSet
from voxflate.gans.slice_features import WEIGHTS
from voxflate.gans.state import TrainingState
from voxflate.nn.run_stage import kernels_in_use
from voxflate.runs import history

FACTS_NAME = "run.json"


def environment() -> dict[str, Any]:
    """Facts of the machine that bit-exact results depend on: versions, threads, processor type."""
    return {
        "versions": {
            "voxflate": __version__,
            "source": source_hash(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "threads": torch.get_num_threads(),
        "processor": processor_name(),
        "cores": available_cores(),
        "machine": f"{platform.system()} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


def write_facts(
    config: RunConfig,
    run: Path,
    prepared: PreparedSet,
    state: TrainingState,
    started_from: Mapping[str, Any] | None = None,
) -> None:
    """Write the facts of this process, and add it to "sessions" and its changes to "settings".

    Sessions and changes from the present image on are dropped, because nothing was trained with them.

    Call it before `config.toml` is written: the first settings of runs from before "settings" are only there.

    Args:
        config: Settings of the run.
        run: Run folder.
        prepared: Its prepared set.
        state: Networks and progress.
        started_from: `TransferReport.twin` of a run that starts now; None or empty for others.
    """
    here = environment() | {
        "device": str(state.gan.device),
        "kernels": kernels_in_use(state.gan.device),
        "precision": "bf16" if state.gan.settings.autocast else "fp32",
        "compile": state.gan.settings.compile,
        "processes": state.gan.world.size,
    }
    if state.gan.device.type == "cuda":
        here["gpu"] = described(state.gan.device)
    before = read_facts(run) if state.n_images else {}
    # A run that stopped at image 0 continues, too, and only its first process loaded the 2D run.
    continues = config.start.strategy != "none" and not started_from and (run / FACTS_NAME).is_file()
    start = read_facts(run) if continues else before
    sessions = [each for each in before.get("sessions", []) if each.get("from_images", 0) < state.n_images]
    if not sessions or _without_start(sessions[-1]) != here:
        sessions.append({"from_images": state.n_images, **here})
    changes = list(before.get("settings", []))
    if before and not changes and (run / CONFIG_NAME).is_file():
        changes = history.extended([], 0, load_config(run))
    facts = {
        "data": prepared.content_hash,
        "train_volumes": len(prepared.stored("train")),
        "seed": config.training.seed,
        "layout": prepared.layout.as_json(),
        **here,
        "parameters": {
            name: sum(p.numel() for p in part.parameters()) for name, part in state.gan.networks.items()
        },
        "sessions": sessions,
        "settings": history.extended(changes, state.n_images, config),
    }
    if labels := labels_sha256(prepared):
        facts["labels_sha256"] = labels
    if twin := start.get("twin") or _settings_of(config.start.twin):
        facts["twin"] = twin
    if started := start.get("started_from") or started_from:
        facts["started_from"] = dict(started)
    if config.slice_discriminator.weight:
        name = config.slice_discriminator.features
        facts["slice_features"] = {"network": name, "weights_sha256": WEIGHTS.get(name)}
    write_json(run / FACTS_NAME, facts)


def read_facts(run: Path) -> dict[str, Any]:
    """Read a run's facts.

    Raises:
        VoxflateError: If the file is missing or was not written by `write_facts`.
    """
    path = run / FACTS_NAME
    facts = read_json(path)
    kinds = {"data": str, "seed": int, "threads": int, "versions": dict}
    if not isinstance(facts, dict) or any(
        not isinstance(facts.get(key), kind) for key, kind in kinds.items()
    ):
        raise VoxflateError(f"{path}: was not written by voxflate; restore it, or start a new run")
    if not all(isinstance(session, dict) for session in facts.get("sessions", [])):
        raise VoxflateError(f"{path}: its sessions are damaged; restore it, or start a new run")
    if not history.is_whole(facts.get("settings", [])):
        raise VoxflateError(f"{path}: its settings are damaged; restore it, or start a new run")
    return facts


def _settings_of(twin: str) -> dict[str, Any] | None:
    """Settings of the 2D run by dotted key; None without one, or if an older run's was moved since."""
    if not twin:
        return None
    try:
        return flat(load_config(twin).model_dump(mode="json"))
    except VoxflateError:
        return None


def _without_start(session: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in session.items() if key != "from_images"}
