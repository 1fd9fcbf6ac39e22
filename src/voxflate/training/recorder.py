"""What a training leaves behind: snapshots, log rows, sample sheets, distances."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxflate.build import is_planar_twin
from voxflate.config import RunConfig
from voxflate.data.prepared import PreparedSet
from voxflate.errors import VoxflateError
from voxflate.evaluation import Evaluator
from voxflate.figures import sample_sheet, slice_sheet
from voxflate.gans.gan import Losses
from voxflate.gans.sampling import sample
from voxflate.training.log import TrainingLog
from voxflate.training.loop import finite
from voxflate.training.snapshots import save_snapshot
from voxflate.training.state import TrainingState

SHEET_SAMPLES = 8
SHEET_SEED = 0
MEASURED_SEED = 1
"""Another seed than the sheets', so that nobody chooses a model by the samples it is judged by."""
LOG_SECONDS = 2.0
FLOOR_FIGURES = ("-avg", "-2d", "pairwise-l2")


@dataclass(frozen=True)
class Progress:
    """What a progress bar shows.

    Attributes:
        n_images: Images shown.
        total: Images to show.
        images_per_second: Of this process, snapshots left out.
        losses: The last step's.
    """

    n_images: int
    total: int
    images_per_second: float
    losses: dict[str, float]


class Recorder:
    """Writes what a training leaves behind: log rows, snapshots, sample sheets, distances."""

    def __init__(
        self,
        config: RunConfig,
        run: Path,
        prepared: PreparedSet,
        evaluator: Evaluator | None,
        state: TrainingState,
        on_progress: Callable[[Progress], None] | None,
        *,
        fresh: bool,
    ) -> None:
        self.config = config
        self.run = run
        self.prepared = prepared
        self.on_progress = on_progress
        self.evaluator = evaluator
        if fresh:
            for sheet in (run / "sheets").glob("*.png"):
                sheet.unlink()
        self.log = TrainingLog(run, -1 if fresh else state.n_images)
        self._row: dict[str, Any] = {}
        self._logged = time.perf_counter()
        self._since = (state.n_images, state.seconds)

    def after_step(self, state: TrainingState, losses: Losses) -> None:
        """Stop on a loss that is no number; move the bar; log every few seconds."""
        if not finite(losses):
            bad = ", ".join(name for name, value in losses.items() if not torch.isfinite(value))
            raise VoxflateError(
                f"{self.run}: {bad} is not finite after {state.n_images} images; the snapshots before are "
                "untouched: resume with a lower training.lr_g and training.lr_d, or training.precision=fp32"
            )
        images, seconds = state.n_images - self._since[0], state.seconds - self._since[1]
        values = {name: float(value) for name, value in losses.items()}
        speed = images / seconds if seconds else 0.0
        if self.on_progress is not None:
            self.on_progress(Progress(state.n_images, round(self.config.training.kimg * 1000), speed, values))
        row = {"n_images": state.n_images, "seconds": round(state.seconds, 2), "images_per_s": speed}
        self._row = row | values
        if time.perf_counter() - self._logged >= LOG_SECONDS:
            self._log_step()

    def _log_step(self) -> None:
        if self._row:
            self.log.losses(self._row)
        self._row = {}
        self._logged = time.perf_counter()

    def at_snapshot(self, state: TrainingState) -> None:
        """Save the state first; then what can be made again from it."""
        if not state.is_finite():
            raise VoxflateError(
                f"{self.run}: a weight is not finite after {state.n_images} images; no snapshot was written, "
                "resume from the one before with a lower training.lr_g and training.lr_d"
            )
        self._log_step()
        made = {"model": self.config.model, "network": self.config.network.model_dump(mode="json")}
        save_snapshot(self.run, state.state_dict() | made, self.config.training.keep)
        self.complete(state)

    def complete(self, state: TrainingState) -> None:
        """Make the sheet and the measurement of a state just saved or resumed, unless they exist."""
        sheet = self.run / "sheets" / f"kimg-{state.kimg:010.3f}.png"
        if not sheet.exists():
            self._sheet(state, sheet)
        if self._is_due(state) and not self.log.has_metrics(state.n_images):
            self.log.metrics({"n_images": state.n_images, **self._measure(state)})

    def _is_due(self, state: TrainingState) -> bool:
        every = self.config.evaluation.every
        number = state.n_images // self.config.training.snapshot_images
        return every > 0 and (number % every == 0 or state.kimg >= self.config.training.kimg)

    def _sheet(self, state: TrainingState, path: Path) -> None:
        samples = self._samples(state, SHEET_SAMPLES, SHEET_SEED)
        images = np.concatenate([batch.numpy() for batch in samples])
        title = f"{self.run.name}: {state.kimg:g} kimg, average of the weights, seed {SHEET_SEED}"
        if self.config.training.phase == "2d":
            slice_sheet(images, path, title=title, spacing=self.prepared.spacing[1:])
        else:
            sample_sheet(images, path, title=title, spacing=self.prepared.spacing)

    def _samples(self, state: TrainingState, count: int, seed: int) -> Iterator[Tensor]:
        return sample(state.ema.generator, count, seed=seed, slices=is_planar_twin(self.config))

    def _measure(self, state: TrainingState) -> dict[str, Any]:
        assert self.evaluator is not None  # there is one whenever a measurement can be due
        samples = self._samples(state, self.config.evaluation.samples, MEASURED_SEED)
        batches = (batch.numpy() for batch in samples)
        if self.config.training.phase == "2d":
            figures, floor = self.evaluator.measure_2d(batches), self.evaluator.real_floor_2d()
        else:
            figures, floor = self.evaluator.measure(batches), self.evaluator.real_floor()
        beside = {f"real-{key}": value for key, value in floor.items() if key.endswith(FLOOR_FIGURES)}
        return figures | beside | {"sample-seed": MEASURED_SEED}
