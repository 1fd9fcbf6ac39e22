"""A run: a folder, a configuration, a training that can be taken up again.

RUN/
    config.toml           all settings; repeats the run
    run.json              versions, seed, data hash, device
    inflation.json        for inflated starts: what became of every parameter
    snapshots/            snapshot-000060000.pt: everything that changes during training
    sheets/               kimg-000060.000.png: samples from the average, always the same latent codes
    log.jsonl  metrics.jsonl  tensorboard/
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxflate.allocator import keep_freed_memory
from voxflate.build import Stream, build_gan, build_run_networks
from voxflate.config import DEFAULT_MODEL, NetworkConfig, RunConfig
from voxflate.configfile import load_config, save_config
from voxflate.data.prepared import PreparedSet, open_prepared
from voxflate.data.shapes import check_shape
from voxflate.errors import VoxflateError
from voxflate.evaluation import Evaluator
from voxflate.files import read_json, write_json
from voxflate.gans.gan import Gan
from voxflate.inflation import TransferReport
from voxflate.nn.compiled import kernels_in_use, use_kernels
from voxflate.training.ema import Ema
from voxflate.training.loop import Schedule, train
from voxflate.training.recorder import Progress, Recorder
from voxflate.training.snapshots import list_snapshots, load_newest, remove_unfinished
from voxflate.training.start import apply_start
from voxflate.training.state import TrainingState

FACTS_NAME = "run.json"


def train_run(
    config: RunConfig,
    run: Path,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    stop_at: int | None = None,
) -> TransferReport | None:
    """Train, or take a training up again, until `training.kimg`.

    Args:
        config: All settings.
        run: Folder of the run; made if missing.
        resume: Go on from the newest whole snapshot.
        on_progress: Called after every step.
        stop_at: Stop after this many images, as if the process had ended there; 0 only writes the start.

    Returns:
        The inflation's report, where this call inflated.

    Raises:
        VoxflateError: If settings, data and 2D run do not fit, or there is nothing to resume.
    """
    keep_freed_memory()
    _use_threads(config.training.threads)
    use_kernels(config.training.kernels)
    prepared = open_prepared(config.data)
    _check_data(config, prepared, trains=stop_at != 0)
    if not resume and list_snapshots(run):
        raise VoxflateError(f"{run}: holds snapshots; add --resume to go on, or choose another folder")
    torch.manual_seed(config.training.seed)
    networks = build_run_networks(config)
    report = None if resume else apply_start(config, networks)
    gan = build_gan(config, networks)
    t = config.training
    state = TrainingState(gan, Ema(gan.generator, t.ema_halflife_fraction, t.ema_kimg * 1000))
    if resume:
        _restore(state, run, config, prepared)
    stream = Stream(prepared, t, gan.device)
    stream(state.n_images, t.batch)  # refuses a batch that does not fit, before anything is written
    evaluator = _evaluator(config, prepared)
    _write_facts(config, run, prepared, gan, report)
    recorder = Recorder(config, run, prepared, evaluator, state, on_progress, fresh=not resume)
    try:
        if state.n_images:
            recorder.complete(state)  # the process may have ended between a snapshot and its measurement
        train(state, stream, _schedule(config, stop_at), recorder.after_step, recorder.at_snapshot)
    finally:
        recorder.log.close()
    return report


def load_generator(run: Path) -> tuple[Any, RunConfig, int]:
    """Load the averaged generator of a run's newest snapshot.

    Returns:
        The generator, in evaluation mode on the CPU; the run's settings; the images it has seen.

    Raises:
        VoxflateError: If there is no snapshot, or it does not fit the run's configuration.
    """
    config = load_config(run)
    state, path = load_newest(run)
    check_networks(state, config, path)
    with torch.random.fork_rng(devices=[]):  # weights that are thrown away
        generator = build_run_networks(config)["generator"]
    try:
        generator.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise VoxflateError(f"{path}: its networks are not those of {run}'s config.toml") from error
    return generator.eval().requires_grad_(False), config, int(state["n_images"])


def _use_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _check_data(config: RunConfig, prepared: PreparedSet, *, trains: bool) -> None:
    try:
        check_shape(prepared.shape, config.network.base, config.network.stages)
    except VoxflateError as error:
        raise VoxflateError(f"{config.data}: {error}") from error
    count, batch = len(prepared.stored("train")), config.training.batch
    if trains and config.training.phase == "3d" and count < batch:
        raise VoxflateError(
            f"{config.data}: {count} training volumes are fewer than one batch of {batch}; "
            f"add volumes or set training.batch to {count} or less"
        )


def _restore(state: TrainingState, run: Path, config: RunConfig, prepared: PreparedSet) -> None:
    remove_unfinished(run)
    snapshot, path = load_newest(run)
    known = read_json(run / FACTS_NAME)["data"]
    if known != prepared.content_hash:
        raise VoxflateError(
            f"{config.data}: is not the data that {run} was trained on (sha256 "
            f"{prepared.content_hash[:12]}, was {known[:12]}); name that folder with --set data=FOLDER, or "
            "start a new run"
        )
    check_networks(snapshot, config, path)
    try:
        state.load_state_dict(snapshot)
    except (RuntimeError, ValueError, KeyError) as error:
        raise VoxflateError(f"{path}: does not fit the settings of {run}; start a new run") from error


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


def _evaluator(config: RunConfig, prepared: PreparedSet) -> Evaluator | None:
    if not config.evaluation.every:
        return None
    with torch.random.fork_rng(devices=[]):  # its network draws weights before it loads its own
        return Evaluator(prepared, config.evaluation.extractor, min_content=config.training.min_content)


def _write_facts(
    config: RunConfig, run: Path, prepared: PreparedSet, gan: Gan, report: TransferReport | None
) -> None:
    """Write what else decides a run's figures, for whoever wants to repeat it."""
    save_config(config, run)
    facts = {
        "data": prepared.content_hash,
        "seed": config.training.seed,
        "device": str(gan.device),
        "precision": "bf16" if gan.settings.autocast else "fp32",
        "kernels": kernels_in_use(),
        "threads": torch.get_num_threads(),
        "parameters": {
            name: sum(p.numel() for p in network.parameters()) for name, network in gan.networks.items()
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
    write_json(run / FACTS_NAME, facts)
    if report is not None:
        write_json(run / "inflation.json", report.as_dict())


def _schedule(config: RunConfig, stop_at: int | None) -> Schedule:
    t = config.training
    total = round(t.kimg * 1000)
    return Schedule(
        total=total,
        batch=t.batch,
        snapshot_every=t.snapshot_images,
        freeze_g=round(t.freeze_g_kimg * 1000),
        lr_decay=t.lr_decay,
        stop_at=total if stop_at is None else min(stop_at, total),
    )
