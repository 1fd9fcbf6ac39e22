"""The arrays of a set that is being made: written row by row, with a log that tells which rows are whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

from voxflate.data.prepared import SPLITS, Int16, Scan, content_sha256, voxels_sha256

LOG = "rows.jsonl"


class Rows:
    """One array file per split, and the log.

    Plain writes and not a memory map: on a full disk a write is an error, a memory map is a killed process.

    Args:
        folder: Where they are, or will be.
        key: Says what is being made; rows that were written under another key are thrown away.
        shape: (D, H, W) of a row, or (C, D, H, W) where there are several channels.
    """

    def __init__(self, folder: Path, key: str, shape: tuple[int, ...]) -> None:
        self._log_path = folder / LOG
        self._key = key
        self._shape = shape
        self._hashes: dict[str, list[str]] = {split: [] for split in SPLITS}
        self._open = ExitStack()
        self._files: dict[str, BinaryIO] = {}
        for split in SPLITS:
            path = folder / f"{split}.npy"
            path.touch()
            self._files[split] = self._open.enter_context(path.open("r+b"))
            self._header(split)

    def __enter__(self) -> Rows:
        """Files are open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close them; what was added stays."""
        self._open.close()

    def restore(self) -> Iterator[tuple[int, Scan, Int16]]:
        """Rows that an earlier process wrote, as far as they are whole: (job, record, values).

        Must be read to its end before a row is added.
        """
        good = 0
        content = self._log_path.read_bytes() if self._log_path.exists() else b""
        lines = content.split(b"\n")[:-1]  # a line that was cut off has no end
        if lines and lines[0] == self._first_line():
            good = len(lines[0]) + 1
            for line in lines[1:]:
                found = self._restored(line)
                if found is None:
                    break
                good += len(line) + 1
                yield found
        self._log = self._open.enter_context(self._log_path.open("ab"))
        self._log.truncate(good)
        if not good:
            self._log.write(self._first_line() + b"\n")
            self._log.flush()

    def _first_line(self) -> bytes:
        return json.dumps({"key": self._key}).encode()

    def _restored(self, line: bytes) -> tuple[int, Scan, Int16] | None:
        try:
            entry = json.loads(line)
            scan = Scan.from_json(entry["scan"])
            content = self._files[scan.split].read(2 * int(np.prod(self._shape)))
            array = np.frombuffer(content, "<i2").reshape(self._shape)
        except (ValueError, KeyError, TypeError):
            return None
        if voxels_sha256(array) != scan.voxels_sha256:
            self._seek(scan.split)
            return None
        self._hashes[scan.split].append(scan.voxels_sha256)
        return int(entry["job"]), scan, array

    def add(self, job: int, scan: Scan, array: Int16) -> None:
        """Append a row to its split, then tell the log."""
        file = self._files[scan.split]
        file.write(np.ascontiguousarray(array, "<i2").data)
        file.flush()
        entry = {"job": job, "scan": vars(scan)}
        self._log.write(json.dumps(entry).encode() + b"\n")
        self._log.flush()
        self._hashes[scan.split].append(scan.voxels_sha256)

    @property
    def content_hash(self) -> str:
        """The hash of all rows; see `prepared.content_sha256`."""
        return content_sha256(one for split in SPLITS for one in self._hashes[split])

    def finish(self) -> None:
        """Make the arrays whole, on the disk too, and remove the log."""
        for split, file in self._files.items():
            file.truncate(self._seek(split))
            self._header(split)
            file.flush()
            os.fsync(file.fileno())
        self._log.close()
        self._log_path.unlink()

    def _header(self, split: str) -> None:
        """Write the header with the rows so far; it is padded, so that every count takes the same room."""
        file = self._files[split]
        file.seek(0)
        shape = (len(self._hashes[split]), *self._shape)
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        self._start = file.tell()

    def _seek(self, split: str) -> int:
        """Go to the end of the rows of a split."""
        return self._files[split].seek(self._start + len(self._hashes[split]) * 2 * int(np.prod(self._shape)))
