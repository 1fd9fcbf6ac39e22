"""Writes a run's snapshots, log rows, sample sheets and metrics."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from voxflate._system.devices import peak_gib
from voxflate._system.errors import TrainingStopped
from voxflate.config.build import is_planar_twin
from voxflate.config.schema import RunConfig
from voxflate.data.channels import pictured
from voxflate.data.labels import JointLabels, joint_labels
from voxflate.data.prepared import PreparedSet
from voxflate.drawing.sheets import sample_sheet, slice_sheet
from voxflate.evaluation import Evaluator
from voxflate.gans.gan import Scalars
from voxflate.gans.samples import sample
from voxflate.gans.state import TrainingState
from voxflate.runs.fingerprint import (
    SEED,
    Images,
    diversity,
    fingerprint,
    fixed_samples,
    label_vectors,
    real_diversity,
)
from voxflate.runs.log import METRICS_NAME, SNAPSHOTS_NAME, TrainingLog
from voxflate.runs.snapshots import best_snapshot, save_snapshot
from voxflate.training.guard import Guard
from voxflate.training.stop import StopRequest

MEASURED_SEED = 1
"""Not the seed of the sheets, so that a model is not chosen by the samples on which it is judged."""
SAMPLE_BATCH = 8
LOG_SECONDS = 2.0
FLOOR_METRICS = re.compile(r"-avg$|-[23]d$|^pairwise-l2$|^nearest-l2$|^volume-w1-")


@dataclass(frozen=True)
class Progress:
    """The data of a progress bar.

    Attributes:
        n_images: Images shown.
        total: Images to show in total.
        images_per_second: Speed of this process, without snapshots.
        scalars: Scalars of the last step; on a GPU, their means since the last report.
    """

    n_images: int
    total: int
    images_per_second: float
    scalars: dict[str, float]


@dataclass(frozen=True)
class Caller:
    """Callbacks of a training's caller, and its stop request.

    Attributes:
        on_progress: Called after every step; on a GPU, after every 16th.
        note: Called with a message about anything unusual.
        stop: Checked after every step; by several processes on GPUs, after every 16th.
    """

    on_progress: Callable[[Progress], None]
    note: Callable[[str], None]
    stop: StopRequest


class Recorder:
    """Writes log rows, snapshots, sample sheets and metrics of a training."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        prepared: PreparedSet,
        evaluator: Evaluator | None,
        state: TrainingState,
        guard: Guard,
        caller: Caller,
    ) -> None:
        self.config = config
        self.run = run
        self.prepared = prepared
        self.guard = guard
        self.caller = caller
        self.evaluator = evaluator
        self.log = TrainingLog(run, state.n_images, caller.note)
        self.labels = joint_labels(prepared)
        self._row: dict[str, Any] = {}
        self._scalars: defaultdict[str, list[float]] = defaultdict(list)
        self._row_since = state.n_images
        self._logged = time.perf_counter()
        self._since = (state.n_images, state.seconds)

    def rewind(self, state: TrainingState) -> None:
        """Drop log rows after the state that the training went back to."""
        self.log.rewind(state.n_images)
        self._begin_row(state)
        self._since = (state.n_images, state.seconds)

    def after_step(self, state: TrainingState, scalars: Scalars) -> None:
        """Check the scalars, report progress, log every few seconds, and end on request.

        To avoid waiting for a GPU at every step, this happens only when the guard checks, or on a request to
        end. Several processes must check together, so there a request waits for the guard.

        Raises:
            NonFiniteError: If a scalar is NaN or infinite.
            TrainingStopped: After everything was saved.
        """
        ends = state.gan.world.size == 1 and self.caller.stop.requested
        values = self.guard.after_step(scalars, look=ends)
        if values is None:
            return
        images, seconds = state.n_images - self._since[0], state.seconds - self._since[1]
        speed = images / seconds if seconds else 0.0
        total = round(self.config.training.kimg * 1000)
        self.caller.on_progress(Progress(state.n_images, total, speed, values))
        row = {"since": self._row_since, "n_images": state.n_images, "seconds": round(state.seconds, 2)}
        self._row = row | {"images_per_s": speed}
        for name, value in values.items():
            self._scalars[name].append(value)
        if time.perf_counter() - self._logged >= LOG_SECONDS:
            self._log_step(state)
        if state.gan.world.any(self.caller.stop.requested, state.gan.device):
            self.save(state)
            raise TrainingStopped(state.n_images)

    def _log_step(self, state: TrainingState) -> None:
        if self._row:
            means = {name: fmean(values) for name, values in self._scalars.items()}
            self.log.scalars(self._row | means | {"peak_gib": round(peak_gib(state.gan.device), 3)})
        self._begin_row(state)

    def _begin_row(self, state: TrainingState) -> None:
        self._row = {}
        self._scalars.clear()
        self._row_since = state.n_images
        self._logged = time.perf_counter()

    def at_snapshot(self, state: TrainingState) -> None:
        """Save the state first, then everything that can be computed from it."""
        self.save(state)
        self.complete(state)

    def save(self, state: TrainingState) -> None:
        """Write the log's rows and a snapshot, if all weights are finite.

        Raises:
            NonFiniteError: If a weight is NaN or infinite; then nothing is written.
        """
        self.guard.check_weights()
        self._log_step(state)
        self.log.sync()
        best = best_snapshot(self.run)
        made = {"model": self.config.model, "network": self.config.network.model_dump(mode="json")}
        save_snapshot(self.run, state.state_dict() | made, self.config.training.keep, [best] if best else [])

    def complete(self, state: TrainingState) -> None:
        """Compute the samples and metrics of a state just saved or resumed, unless they exist.

        Raises:
            TrainingStopped: On a stop request meanwhile; they are computed when the run is resumed.
        """
        with self.caller.stop.at_once(state.n_images):
            sheet = self.run / "sheets" / f"kimg-{state.kimg:010.3f}.png"
            known = self.log.has(SNAPSHOTS_NAME, state.n_images)
            if not (sheet.exists() and known):
                images = fixed_samples(self.config, state.ema.generator, self.labels)
                self._sheet(images, state, sheet)
                if not known:
                    self._fingerprint(images, state)
            due = self._is_due(state) and not self.log.has(METRICS_NAME, state.n_images)
            if state.gan.world.of_the_first(due, state.gan.device):
                self.log.metrics({"n_images": state.n_images, **self._measure(state)})

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def event(self, n_images: int, event: str, text: str) -> None:
        """Log something unusual, and tell the caller."""
        self.log.event({"n_images": n_images, "event": event, "text": text})
        self.caller.note(f"{self.run}: {text}")

    def _is_due(self, state: TrainingState) -> bool:
        every = self.config.evaluation.every
        number = state.n_images // self.config.training.snapshot_images
        return every > 0 and (number % every == 0 or state.kimg >= self.config.training.kimg)

    def _sheet(self, images: Images, state: TrainingState, path: Path) -> None:
        title = f"{self.run.name}: {state.kimg:g} kimg, average of the weights, seed {SEED}"
        two_d = self.config.training.phase == "2d"
        shown, classes = pictured(images, self.prepared.layout, 2 if two_d else 3)
        draw, axes = (slice_sheet, 2) if two_d else (sample_sheet, 3)
        draw(shown, path, title=title, spacing=self.prepared.spacing[-axes:], classes=classes)
        self.log.picture(path, state.n_images)

    def _fingerprint(self, images: Images, state: TrainingState) -> None:
        found, floor = diversity(images, self._real_diversity), self.config.evaluation.diversity_floor
        earlier = [row.get("diversity", 0.0) for row in self.log.rows(SNAPSHOTS_NAME)]
        if found < floor and earlier and earlier[-1] >= floor:
            self.event(
                state.n_images,
                "collapse",
                f"after {state.n_images} images samples differ {found:.3f} times as much as real ones do, "
                f"less than evaluation.diversity_floor = {floor:g}: it may have collapsed; look at the "
                "sheets, and lower the learning rates or add augmentation",
            )
        self.log.snapshot({"n_images": state.n_images, "diversity": found, **fingerprint(images)})

    @cached_property
    def _real_diversity(self) -> float:
        return real_diversity(self.config, self.prepared)

    def _measure(self, state: TrainingState) -> dict[str, Any]:
        assert self.evaluator is not None  # there is one whenever a measurement can be due
        batches = (batch.numpy() for batch in measured_samples(state, self.config, self.labels))
        if self.config.training.phase == "2d":
            metrics, floor = self.evaluator.measure_2d(batches), self.evaluator.real_floor_2d()
        else:
            metrics, floor = self.evaluator.measure(batches), self.evaluator.real_floor()
        beside = {f"real-{key}": value for key, value in floor.items() if FLOOR_METRICS.search(key)}
        return metrics | beside | {"sample-seed": MEASURED_SEED}


class Follower:
    """Runs in the other processes while the first one records: the same checks, and a share of the samples.

    Args:
        config: Settings of the run.
        guard: Guard of this process.
        caller: Its stop request counts like the first process's.
        labels: Joint distribution of the training set's labels.
    """

    def __init__(self, config: RunConfig, guard: Guard, caller: Caller, labels: JointLabels | None) -> None:
        self.config = config
        self.guard = guard
        self.caller = caller
        self.labels = labels

    def after_step(self, state: TrainingState, scalars: Scalars) -> None:
        """As `Recorder.after_step`."""
        if self.guard.after_step(scalars) is None:
            return
        if state.gan.world.any(self.caller.stop.requested, state.gan.device):
            self.save(state)
            raise TrainingStopped(state.n_images)

    def at_snapshot(self, state: TrainingState) -> None:
        """As `Recorder.at_snapshot`."""
        self.save(state)
        self.complete(state)

    def save(self, state: TrainingState) -> None:
        """Check the weights, like the first process."""
        self.guard.check_weights()

    def complete(self, state: TrainingState) -> None:
        """Make this process's share of the samples, if the first one measures."""
        if state.gan.world.of_the_first(False, state.gan.device):
            for _ in measured_samples(state, self.config, self.labels):
                pass

    def rewind(self, state: TrainingState) -> None:
        """Do nothing: nothing was logged."""

    def event(self, n_images: int, event: str, text: str) -> None:
        """Do nothing: the first process reports it."""

    def close(self) -> None:
        """Do nothing: nothing is open."""


def measured_samples(state: TrainingState, config: RunConfig, labels: JointLabels | None) -> Iterator[Tensor]:
    """Samples for measuring a snapshot, in batches on the CPU; every process makes a share.

    Every process must consume all batches.
    """
    world, slices = state.gan.world, is_planar_twin(config)
    count = config.evaluation.samples
    for start in range(0, count, SAMPLE_BATCH * world.size):
        first = start + SAMPLE_BATCH * world.rank
        # Samples beyond the last one are made too, so that all messages have one size, and then dropped.
        own = SAMPLE_BATCH if world.size > 1 else min(SAMPLE_BATCH, count - start)
        made = sample(
            state.ema.generator,
            own,
            seed=MEASURED_SEED,
            slices=slices,
            batch=SAMPLE_BATCH,
            first=first,
            labels=label_vectors(config, labels, MEASURED_SEED, first, own),
        )
        batches = world.gather(torch.cat(list(made)).to(state.gan.device))
        yield from (b.cpu() for b in torch.cat(batches)[: count - start].split(SAMPLE_BATCH))
