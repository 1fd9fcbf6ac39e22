"""The log of a run: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
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
    """

    def __init__(self, run: Path, n_images: int) -> None:
        self.run = run
        self.writer: SummaryWriter | None = None
        self.rewind(n_images)

    def rewind(self, n_images: int) -> None:
        """Drop every row after `n_images` images; these images will be shown again."""
        for name in _ALL:
            _forget_after(self.run / name, n_images)
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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file up to the first invalid line: a crash truncates the last one."""
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    with open(path, encoding="utf-8", errors="replace") as handle:
        while line := handle.readline(_LONGEST_ROW):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(row, dict) or not isinstance(row.get("n_images"), int):
                break
            rows.append(row)
    return rows


def _forget_after(path: Path, n_images: int) -> None:
    rows = read_rows(path)
    kept = [row for row in rows if row["n_images"] <= n_images]
    if path.exists():
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
