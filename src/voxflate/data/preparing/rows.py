"""The arrays of an unfinished set: written row by row, with a log of the complete rows."""

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

Clipped = tuple[float, float] | None


class Rows:
    """One array file per split, and the log.

    Plain writes, no memory map: on a full disk a write raises an error, a memory map kills the process.

    Args:
        folder: Folder of the arrays.
        key: Identifies the preparation; rows written under another key are discarded.
        shape: (D, H, W) of a row, or (C, D, H, W) with several channels.
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
        """Enter with open files."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files; added rows are kept."""
        self._open.close()

    def restore(self) -> Iterator[tuple[int, Scan, Int16, Clipped]]:
        """Complete rows that an earlier process wrote: (job, scan, array, clipped), as given to `add`.

        Must be exhausted before a row is added.
        """
        good = 0
        content = self._log_path.read_bytes() if self._log_path.exists() else b""
        lines = content.split(b"\n")[:-1]  # a truncated line has no newline
        if lines and lines[0] == self._first_line():
            good = len(lines[0]) + 1
            for line in lines[1:]:
                found = self._restored(line)
                if found is None:
                    break
                good += len(line) + 1
                yield found
        for split in SPLITS:  # a row without an entry, or cut short, is written over
            self._seek(split)
        self._log = self._open.enter_context(self._log_path.open("ab"))
        self._log.truncate(good)
        if not good:
            self._log.write(self._first_line() + b"\n")
            self._log.flush()

    def _first_line(self) -> bytes:
        return json.dumps({"key": self._key}).encode()

    def _restored(self, line: bytes) -> tuple[int, Scan, Int16, Clipped] | None:
        try:
            entry = json.loads(line)
            job, scan = int(entry["job"]), Scan.from_json(entry["scan"])
            clipped = entry["clipped"] and (float(entry["clipped"][0]), float(entry["clipped"][1]))
            content = self._files[scan.split].read(2 * int(np.prod(self._shape)))
            array = np.frombuffer(content, "<i2").reshape(self._shape)
        except (ValueError, KeyError, TypeError, IndexError):
            return None
        if voxels_sha256(array) != scan.voxels_sha256:
            return None
        self._hashes[scan.split].append(scan.voxels_sha256)
        return job, scan, array, clipped

    def add(self, job: int, scan: Scan, array: Int16, clipped: Clipped = None) -> None:
        """Append a row to its split, then to the log.

        Args:
            job: Index of its job.
            scan: Its record.
            array: Its voxels.
            clipped: As `Volume.clipped`.
        """
        file = self._files[scan.split]
        file.write(np.ascontiguousarray(array, "<i2").data)
        file.flush()
        entry = {"job": job, "scan": vars(scan), "clipped": clipped}
        self._log.write(json.dumps(entry).encode() + b"\n")
        self._log.flush()
        self._hashes[scan.split].append(scan.voxels_sha256)

    @property
    def content_hash(self) -> str:
        """The hash of all rows; see `prepared.content_sha256`."""
        return content_sha256(one for split in SPLITS for one in self._hashes[split])

    def finish(self) -> None:
        """Complete the arrays, also on disk, and remove the log."""
        for split, file in self._files.items():
            file.truncate(self._seek(split))
            self._header(split)
            file.flush()
            os.fsync(file.fileno())
        self._log.close()
        self._log_path.unlink()

    def _header(self, split: str) -> None:
        """Write the header with the rows so far, padded so that its size does not depend on the count."""
        file = self._files[split]
        file.seek(0)
        shape = (len(self._hashes[split]), *self._shape)
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        self._start = file.tell()

    def _seek(self, split: str) -> int:
        """Seek to the end of the rows of a split."""
        return self._files[split].seek(self._start + len(self._hashes[split]) * 2 * int(np.prod(self._shape)))
