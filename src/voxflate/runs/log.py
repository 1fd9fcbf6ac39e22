"""The log of a run: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from voxflate._system.files import cannot_be_written, whole_file

LOG_NAME = "log.jsonl"
METRICS_NAME = "metrics.jsonl"
SNAPSHOTS_NAME = "snapshots.jsonl"
EVENTS_NAME = "events.jsonl"
_ALL = (LOG_NAME, METRICS_NAME, SNAPSHOTS_NAME, EVENTS_NAME)
_LONGEST_ROW = 1_000_000  # characters
_COUNTERS = ("n_images", "since")


class TrainingLog:
    """Appends rows to the JSON-lines files of a run, and their numbers to TensorBoard.

    Args:
        run: Run folder.
        n_images: Where training starts or resumes; rows after it are dropped, as their images come again.
        note: Called with a message for every line that cannot be read.
    """

    def __init__(self, run: Path, n_images: int, note: Callable[[str], None] | None = None) -> None:
        self.run = run
        self.note = note
        self.writer: SummaryWriter | None = None
        self.rewind(n_images)

    def rewind(self, n_images: int) -> None:
        """Drop every row after `n_images` images; these images will be shown again."""
        for name in _ALL:
            _forget_after(self.run / name, n_images, self.note)
        self.close()
        with self._tensorboard():
            purge_step = n_images + 1 if n_images else None
            self.writer = SummaryWriter(self.run / "tensorboard", purge_step=purge_step)

    def scalars(self, row: dict[str, Any]) -> None:
        """Log the means since the previous row; `row` has "n_images", and "since", the images before."""
        self._write(LOG_NAME, row)

    def metrics(self, row: dict[str, Any]) -> None:
        """Log a snapshot's metrics; `row` has "n_images"."""
        self._write(METRICS_NAME, row)

    def snapshot(self, row: dict[str, Any]) -> None:
        """Log the fingerprint of a snapshot's samples; `row` has "n_images"."""
        self._write(SNAPSHOTS_NAME, row)

    def event(self, row: dict[str, Any]) -> None:
        """Log a warning or a restore; `row` has "n_images", "event" and "text"."""
        self._write(EVENTS_NAME, row)

    def sync(self) -> None:
        """Flush the scalars to disk, so that no snapshot is ahead of them."""
        with contextlib.suppress(OSError), open(self.run / LOG_NAME, "rb") as handle:
            os.fsync(handle.fileno())

    def _write(self, name: str, row: dict[str, Any]) -> None:
        # NaN and infinity are not JSON, and other programs would refuse the whole file.
        row = {key: value for key, value in row.items() if not isinstance(value, float) or isfinite(value)}
        path = self.run / name
        try:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_be_written(path, error) from error
        group = name.removesuffix(".jsonl")
        with self._tensorboard():
            for key, value in row.items():
                if self.writer is not None and isinstance(value, int | float) and key not in _COUNTERS:
                    self.writer.add_scalar(f"{group}/{key}", value, row["n_images"])

    def picture(self, path: Path, n_images: int) -> None:
        """Show a sheet in TensorBoard, next to the scalars of its snapshot."""
        with self._tensorboard():
            if self.writer is not None:
                pixels = np.asarray(Image.open(path).convert("RGB"))
                self.writer.add_image("samples", pixels, n_images, dataformats="HWC")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a file."""
        return read_rows(self.run / name)

    def has(self, name: str, n_images: int) -> bool:
        """Whether a file has a row of the snapshot after `n_images` images."""
        return any(row["n_images"] == n_images for row in self.rows(name))

    def close(self) -> None:
        """Close TensorBoard's writer."""
        with self._tensorboard():
            if self.writer is not None:
                self.writer.close()

    @contextlib.contextmanager
    def _tensorboard(self) -> Iterator[None]:
        """Continue without TensorBoard if it cannot write; the JSON lines have everything."""
        try:
            yield
        except OSError:
            self.writer = None


def read_rows(path: Path, on_skip: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file.

    Args:
        path: The file; may be missing.
        on_skip: Called with a message for every unreadable line but the last, which a crash may truncate.
    """
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    with open(path, encoding="utf-8", errors="replace") as handle:
        number, unreadable = 0, 0
        while line := handle.readline(_LONGEST_ROW):
            if unreadable and on_skip is not None:
                on_skip(f"{path}: line {unreadable} cannot be read and is left out; the other lines are kept")
            number, unreadable = number + 1, 0
            row = _row_of(line)
            if row is None:
                unreadable = number
            else:
                rows.append(row)
    return rows


def _row_of(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("n_images"), int) else None


def _forget_after(path: Path, n_images: int, note: Callable[[str], None] | None) -> None:
    rows = read_rows(path, note)
    kept = [row for row in rows if row["n_images"] <= n_images]
    if path.exists():
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
