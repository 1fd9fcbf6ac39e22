"""A progress bar for library calls that report (done, total)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(task: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while the block runs, and yield the function that moves it.

    Args:
        task: What is being done, in a word or two.
    """
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True))
    row = bar.add_task(task, total=None)

    def move(done: int, total: int) -> None:
        bar.start()  # only now: an error before the first step stays one line
        bar.update(row, completed=done, total=total)

    try:
        yield move
    finally:
        if bar.live.is_started:
            bar.stop()
