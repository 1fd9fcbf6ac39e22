"""The training's log: JSON lines for programs, TensorBoard for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from voxflate.errors import VoxflateError
from voxflate.files import whole_file

LOG_NAME = "log.jsonl"
METRICS_NAME = "metrics.jsonl"


class TrainingLog:
    """Appends rows to `log.jsonl` and `metrics.jsonl`, and the same figures to TensorBoard.

    Args:
        run: Run folder.
        n_images: Where the training (re)starts; later rows, from images that will be shown again, go.
    """

    def __init__(self, run: Path, n_images: int) -> None:
        self.run = run
        for name in (LOG_NAME, METRICS_NAME):
            _forget_after(run / name, n_images)
        self.writer = SummaryWriter(run / "tensorboard", purge_step=n_images + 1 if n_images else None)

    def losses(self, row: dict[str, Any]) -> None:
        """Log a step's losses and speed; `row` has "n_images"."""
        self._write(LOG_NAME, row)

    def metrics(self, row: dict[str, Any]) -> None:
        """Log a snapshot's measurements; `row` has "n_images"."""
        self._write(METRICS_NAME, row)

    def _write(self, name: str, row: dict[str, Any]) -> None:
        path = self.run / name
        try:
            with open(path, "a", encoding="utf-8") as handle:
                handle.write(json.dumps(row) + "\n")
        except OSError as error:
            raise VoxflateError(
                f"{path}: cannot be written ({error.strerror}); free some space, then go on with --resume"
            ) from error
        group = name.removesuffix(".jsonl")
        for key, value in row.items():
            if isinstance(value, int | float) and key != "n_images":
                self.writer.add_scalar(f"{group}/{key}", value, row["n_images"])

    def has_metrics(self, n_images: int) -> bool:
        """Say whether the snapshot after `n_images` images was measured."""
        return any(row["n_images"] == n_images for row in read_rows(self.run / METRICS_NAME))

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self.writer.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _forget_after(path: Path, n_images: int) -> None:
    rows = read_rows(path)
    kept = [row for row in rows if row["n_images"] <= n_images]
    if path.exists():
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
