"""The training loop: show images, run steps, report each step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from voxflate._system.devices import wait_for
from voxflate.config.build import Batch
from voxflate.gans.gan import Scalars
from voxflate.gans.state import TrainingState

Batches = Callable[[int, int], Batch]
"""(images shown so far, batch) -> real images, with their positions and labels."""


@dataclass(frozen=True)
class Schedule:
    """Length and schedule of a run, in images. `stop_at` may be below `total`."""

    total: int
    batch: int
    snapshot_every: int
    stop_at: int
    freeze_g: int = 0
    lr_decay: float = 1.0
    lr_scale: float = 1.0

    def learning_rate(self, n_images: int) -> float:
        """Factor of the learning rates: from 1 to `lr_decay` along half a cosine, times `lr_scale`."""
        done = min(n_images / self.total, 1.0)
        return self.lr_scale * (self.lr_decay + (1 - self.lr_decay) * 0.5 * (1 + math.cos(math.pi * done)))

    def scaled(self, lr_scale: float) -> Schedule:
        """The same schedule with learning rates scaled by `lr_scale`."""
        return replace(self, lr_scale=lr_scale)

    def is_snapshot(self, n_images: int) -> bool:
        """Whether the step that ends at `n_images` reached a multiple of `snapshot_every`, or the end."""
        crossed = n_images // self.snapshot_every > (n_images - self.batch) // self.snapshot_every
        return crossed or n_images >= self.stop_at


def train(
    state: TrainingState,
    batches: Batches,
    schedule: Schedule,
    on_step: Callable[[TrainingState, Scalars], None],
    on_snapshot: Callable[[TrainingState], None],
) -> None:
    """Train until `schedule.stop_at` images have been shown.

    A fresh state gets a snapshot before its first step, which shows the quality of the start.

    Args:
        state: The state, changed in place.
        batches: Returns the real images.
        schedule: Length and learning rates.
        on_step: Called after every step with its scalars.
        on_snapshot: Called at snapshots; must leave the random state unchanged.
    """
    if state.n_images == 0:
        on_snapshot(state)
    started = time.perf_counter()
    while state.n_images < schedule.stop_at:
        state.gan.scale_learning_rates(schedule.learning_rate(state.n_images))
        scalars = state.gan.step(
            *batches(state.n_images, schedule.batch),
            number=state.steps,
            train_g=state.n_images >= schedule.freeze_g,
        )
        state.steps += 1
        state.n_images += schedule.batch
        state.ema.update(state.gan.generator, state.n_images, schedule.batch)
        started = _count(state, started)  # the wait for a GPU in `on_step` counts too
        on_step(state, scalars)
        if schedule.is_snapshot(state.n_images):
            wait_for(state.gan.device)  # for the steps since `on_step` last waited
            _count(state, started)
            on_snapshot(state)
            started = time.perf_counter()


def _count(state: TrainingState, started: float) -> float:
    """Add the time since `started` to that of the training; returns the present."""
    now = time.perf_counter()
    state.seconds += now - started
    return now
