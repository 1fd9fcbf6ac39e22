"""Progress bars for library calls that report their progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from voxflate.training.recorder import Progress as TrainingProgress

_LOSSES = {"loss_g": "G", "loss_d": "D"}
"""The losses that fit on a line; the log has all of them."""

SECONDS_PER_LINE = 60.0
"""Seconds between two lines of progress without a terminal."""


@contextmanager
def progress_bar(task: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, and yield the function (done, total) that moves it.

    Args:
        task: The task, in a word or two.
    """
    with _bar(MofNCompleteColumn()) as bar:
        row = bar.add_task(task, total=None)

        def move(done: int, total: int) -> None:
            bar.start()  # only now, so that an error before the first step remains one line
            bar.update(row, completed=done, total=total)

        yield move


@contextmanager
def training_bar(task: str) -> Iterator[tuple[Callable[[TrainingProgress], None], Callable[[str], None]]]:
    """Show kimg, images per second, the time left and the losses of a training.

    Yields the function that moves the bar, and one that prints a line above it.
    """
    with _bar(TextColumn("{task.fields[state]}")) as bar:
        row = bar.add_task(task, total=None, state="")

        def move(progress: TrainingProgress) -> None:
            losses = " ".join(
                f"{label} {progress.scalars[name]:.2f}"
                for name, label in _LOSSES.items()
                if name in progress.scalars
            )
            state = (
                f"{progress.n_images / 1000:.1f}/{progress.total / 1000:g} kimg  "
                f"{progress.images_per_second:.1f} images/s  {losses}"
            )
            bar.start()
            bar.update(row, completed=progress.n_images, total=progress.total, state=state)

        def note(text: str) -> None:
            bar.console.print(f"voxflate: {text}", markup=False, highlight=False, soft_wrap=True)

        yield move, note


@contextmanager
def stage_bars() -> Iterator[Callable[[str, float], None]]:
    """Show one bar per stage; the yielded function takes the stage's name and the share done."""
    with _bar(TaskProgressColumn()) as bar:
        rows: dict[str, TaskID] = {}

        def move(stage: str, share: float) -> None:
            bar.start()
            if stage not in rows:
                rows[stage] = bar.add_task(stage, total=1.0)
            bar.update(rows[stage], completed=share)

        yield move


class _Lines(Progress):
    """Progress for a log: a line per minute instead of a bar."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(*columns, console=console, disable=True, get_time=lambda: time.monotonic())
        self._next = time.monotonic() + SECONDS_PER_LINE

    def update(self, task_id: TaskID, **values: Any) -> None:
        """Record the progress of a task, and print it if the last line is a minute old."""
        super().update(task_id, **values)
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_PER_LINE
        task = self._tasks[task_id]
        state = task.fields.get("state") or f"{task.percentage:.0f}%"
        if task.time_remaining is not None:
            state += f", {timedelta(seconds=round(task.time_remaining))} left"
        self.console.print(f"{task.description}: {state}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _bar(state: ProgressColumn) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(bar_width=20), state, TimeRemainingColumn()
    console = Console(stderr=True)
    bar = (Progress if console.is_terminal else _Lines)(*columns, console=console)
    try:
        yield bar
    finally:
        if bar.live.is_started:
            bar.stop()
