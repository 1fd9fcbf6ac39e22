"""A run: a folder, its settings, and training that can be resumed.

RUN/
    config.toml           all settings; repeats the run
    run.json              seed, data hash; versions, device and threads of every process that trained it; for
                          inflated starts, settings, images and weights of the 2D run
    inflation.json        for inflated starts: what happened to each parameter
    snapshots/            snapshot-000060000.safetensors: everything that changes during training
    sheets/               kimg-000060.000.png: samples of the averaged generator, always with the same codes
    log.jsonl             scalars of the steps; every row has the image that it starts from
    metrics.jsonl         metrics of the snapshots
    snapshots.jsonl       fingerprints of each snapshot's samples, for voxflate verify
    events.jsonl          warnings and restores
    tensorboard/          scalars and metrics for TensorBoard
    run.lock              pid and host of the process that is training it
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from voxflate._system.cores import available_cores
from voxflate._system.devices import use_gpu
from voxflate._system.distributed import ALONE, LostProcessError, World
from voxflate._system.errors import TrainingStopped, VoxflateError
from voxflate._system.files import check_no_links, write_json
from voxflate._system.memory import explain_out_of_memory
from voxflate.config.build import Stream, build_gan, build_run_networks, least_content
from voxflate.config.schema import RunConfig
from voxflate.config.toml import save_config, with_values
from voxflate.data.labels import joint_labels
from voxflate.data.outside import check_outside_sets
from voxflate.data.prepared import PreparedSet
from voxflate.data.shapes import check_shape
from voxflate.evaluation import Evaluator
from voxflate.evaluation.real import equal_number
from voxflate.gans.compiled import compile_networks
from voxflate.gans.ema import Ema
from voxflate.gans.gan import Shown
from voxflate.gans.state import TrainingState
from voxflate.inflation import TransferReport
from voxflate.nn.draws import Draws
from voxflate.nn.run_stage import describe_path, use_kernels
from voxflate.runs.facts import write_facts
from voxflate.runs.load import load_state
from voxflate.runs.lock import run_lock
from voxflate.runs.new_folder import check_new_folder
from voxflate.runs.resumed import check_kept
from voxflate.runs.snapshots import remove_unfinished
from voxflate.runs.trained_on import check_same_data, open_data
from voxflate.training import memory
from voxflate.training.cautions import cautions
from voxflate.training.guard import Guard, NonFiniteError
from voxflate.training.loop import Schedule, train
from voxflate.training.recorder import Caller, Follower, Progress, Recorder
from voxflate.training.start import apply_start
from voxflate.training.stop import StopRequest


def train_run(
    config: RunConfig,
    run: Path,
    resume: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    stop_at: int | None = None,
    on_note: Callable[[str], None] | None = None,
    stop: StopRequest | None = None,
    world: World = ALONE,
) -> TransferReport | None:
    """Train, or resume training, up to `training.kimg`.

    Args:
        config: All settings.
        run: Folder of the run; created if missing.
        resume: Resume from the newest intact snapshot; only settings in `runs.history.MAY_CHANGE` may differ.
        on_progress: Called after every step; on a GPU, after every 16th.
        stop_at: Stop after this many images, as if the process had ended there; 0 writes only the start.
        on_note: Called once with how the networks run, and whenever something unusual happens: snapshots
            skipped, restores, warnings.
        stop: Checked for a request to end early after every step; by several processes on GPUs, after every
            16th.
        world: The processes of the run; each calls this function, and the first one writes.

    Returns:
        The inflation's report, if this call inflated.

    Raises:
        VoxflateError: If settings, data and 2D run do not fit together, a new run would lie in the data or
            overwrite files, there is nothing to resume, training.kimg is below what was trained, another
            process works on the run, a loss, weight or gradient is NaN or infinite, or another process was
            lost.
        TrainingStopped: On a stop request, after everything was saved.
    """
    if not resume:
        check_outside_sets(run)
    _use_threads(config.training.threads, world)
    use_kernels(config.training.kernels)
    caller = Caller(on_progress or _ignore, on_note or _ignore, stop or StopRequest())
    with (
        explain_out_of_memory(partial(memory.advice, config)),
        run_lock(run, caller.note) if world.is_first else nullcontext(),
    ):
        try:
            with caller.stop.at_once(None):
                session = _begin(config, run, resume, caller, _schedule(config, stop_at), world)
            try:
                session.train()
            finally:
                session.recorder.close()
        except LostProcessError as error:
            if caller.stop.requested:  # all were asked to end, and another one was quicker
                raise TrainingStopped(None) from error
            raise
    return session.report


@dataclass
class _Session:
    """One process's part of a run, fully set up."""

    config: RunConfig
    run: Path
    state: TrainingState
    stream: Stream
    schedule: Schedule
    guard: Guard
    recorder: Recorder | Follower
    report: TransferReport | None

    def train(self) -> None:
        """Train to the end of the schedule; on NaN, go back to the last snapshot if the settings allow it."""
        if self.state.n_images and self.schedule.is_snapshot(self.state.n_images):
            self.recorder.complete(self.state)  # its process may have ended before measuring it
        while True:
            try:
                train(
                    self.state,
                    self.stream,
                    self.schedule.scaled(self.state.lr_scale),
                    self.recorder.after_step,
                    self.recorder.at_snapshot,
                )
                return
            except NonFiniteError as error:
                self._go_back(error)

    def _go_back(self, error: NonFiniteError) -> None:
        """Go back to the last snapshot with lower learning rates, or end with a clear message."""
        allowed, failed_at = self.config.training.restores, self.state.n_images
        if self.state.restores >= allowed:
            after = f" after {allowed} restores" if allowed else ""
            raise VoxflateError(
                f"{self.run}: {error}{after}; earlier snapshots are untouched: continue with --resume and "
                "one of these: lower training.lr_g, training.lr_d and slice_discriminator.lr_s; "
                "training.precision=fp32; or training.restores=3, which goes back and lowers the rates by "
                "itself"
            ) from error
        load_state(self.state, self.run, self.config, self.recorder.caller.note)
        self.state.gan.world.wait()  # before the first process overwrites what the others read
        self.state.restores += 1
        self.state.lr_scale *= self.config.training.restore_lr
        self.recorder.rewind(self.state)
        self.recorder.save(self.state)  # so that the number of restores survives this process
        self.recorder.event(
            self.state.n_images,
            "restored",
            f"{error}; back from {failed_at} to {self.state.n_images} images, with learning rates times "
            f"{self.state.lr_scale:g} (restore {self.state.restores} of {allowed})",
        )


def _begin(
    config: RunConfig, run: Path, resume: bool, caller: Caller, schedule: Schedule, world: World
) -> _Session:
    """Check everything, build everything, then write the settings."""
    check_no_links(run)
    prepared = open_data(config.data, not resume, "give its folder as the first argument")
    t = config.training
    if not config.evaluation.samples:
        config = with_values(config, {"evaluation.samples": equal_number(prepared, t.phase)})
    _check_data(config, prepared, trains=schedule.stop_at != 0)
    if not resume:
        check_new_folder(run)
    torch.manual_seed(t.seed)
    networks = build_run_networks(config)
    report = None if resume else apply_start(config, networks, prepared)
    gan = build_gan(config, networks, world)
    use_gpu(gan.device, tf32=t.tf32, autotune=t.autotune)
    if world.is_first:
        caller.note(describe_path(networks.values(), gan.device, bfloat16=gan.settings.autocast))
    state = TrainingState(gan, Ema(gan.generator, t.ema_halflife_fraction, t.ema_kimg * 1000))
    if resume:
        _load(state, run, config, prepared, caller)
    _check_agreement(state, run)
    stream = Stream(prepared, t, gan.device, world, labels=config.network.label_width > 0)
    # A batch that does not fit is refused here, before anything is written.
    reals, positions, labels = stream(state.n_images, t.batch)
    if resume:
        check_kept(run, config)
    for line in cautions(config, prepared, report, resume):
        caller.note(line)
    draws = Draws(len(reals), gan.device, range(len(reals)))
    line = compile_networks(gan, t.compile, Shown(reals, positions, draws, labels=labels))
    if line and world.is_first:
        caller.note(line)
    guard = Guard(state)
    if not world.is_first:
        follower = Follower(config, guard, caller, joint_labels(prepared))
        return _Session(config, run, state, stream, schedule, guard, follower, report)
    evaluator = _evaluator(config, prepared)
    remove_unfinished(run)
    write_facts(config, run, prepared, state, report.twin if report else None)
    save_config(config, run)
    if report is not None:
        write_json(run / "inflation.json", report.as_dict())
    recorder = Recorder(config, run, prepared, evaluator, state, guard, caller)
    return _Session(config, run, state, stream, schedule, guard, recorder, report)


def _load(state: TrainingState, run: Path, config: RunConfig, prepared: PreparedSet, caller: Caller) -> None:
    """Load the newest snapshot; refuse a length that the run has passed, where its last batch may end."""
    check_same_data(run, config, prepared)
    load_state(state, run, config, caller.note)
    kimg, batch = config.training.kimg, config.training.batch
    if round(kimg * 1000) <= state.n_images - batch:
        raise VoxflateError(
            f"{run}: training.kimg = {kimg:g}, but {state.kimg:g} kimg are already trained; set "
            f"training.kimg={state.kimg:g} or more"
        )


def _check_agreement(state: TrainingState, run: Path) -> None:
    """Refuse processes with different initial weights.

    Raises:
        VoxflateError: If they do.
    """
    weights = [p.detach().double() for network in state.gan.networks.values() for p in network.parameters()]
    sums = torch.stack([weight.sum() for weight in weights] + [weight.square().sum() for weight in weights])
    if not state.gan.world.agree_on([state.n_images, *sums.tolist()], state.gan.device):
        raise VoxflateError(
            f"{run}: its processes start from different weights; give all machines the same run folder, data "
            "and version of voxflate"
        )


def _ignore(told: object) -> None:
    """Ignore the message: nobody is listening."""


def _use_threads(threads: int, world: World) -> None:
    if threads or world.size > 1:  # torchrun sets one thread per process, even where cores are idle
        torch.set_num_threads(threads or max(1, available_cores() // world.local_size))


def _check_data(config: RunConfig, prepared: PreparedSet, *, trains: bool) -> None:
    network = config.network
    try:
        check_shape(prepared.shape, network.base, network.stages)
        prepared.layout.check_networks(network.image_channels, network.label_width)
    except VoxflateError as error:
        raise VoxflateError(f"{config.data}: {error}") from error
    count, batch = len(prepared.stored("train")), config.training.batch
    if trains and config.training.phase == "3d" and count < batch:
        raise VoxflateError(
            f"{config.data}: has {count} training volume{'s' * (count != 1)}, fewer than one batch of "
            f"{batch}; "
            f"add volumes or set training.batch to {count} or less"
        )


def _evaluator(config: RunConfig, prepared: PreparedSet) -> Evaluator | None:
    if not config.evaluation.every:
        return None
    with torch.random.fork_rng(devices=[]):  # its network draws random weights before it loads its own
        return Evaluator(prepared, config.evaluation.extractor, min_content=least_content(config))


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
