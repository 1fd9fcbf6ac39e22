"""Ask the kernel for what will be read next, so that the disk works while the network computes."""

from __future__ import annotations

import os
import sys
import weakref

import numpy as np
import numpy.typing as npt

from voxflate.data.prepared import Int16

BATCHES = 4
"""How many batches ahead the kernel is told."""


class Readahead:
    """Hints for parts of a memory-mapped array; nothing for arrays in memory, or where there are no hints.

    A set larger than memory is read in random order, so the kernel cannot guess, and without hints a batch
    waits for one read of the disk after the other (decision 0033).

    Args:
        stored: The array, as `PreparedSet.stored` gives it, int16 [N, C, D, H, W].
        slices: Parts are axial slices with all channels, not whole volumes.
    """

    def __init__(self, stored: Int16, *, slices: bool = False) -> None:
        self._channels, self._depth = stored.shape[1:3] if slices else (1, 1)
        self._part = int(np.prod(stored.shape[3 if slices else 1 :])) * stored.itemsize
        self._start = 0
        self._descriptor: int | None = None
        if isinstance(stored, np.memmap) and stored.filename and sys.platform == "linux":
            self._start = stored.offset
            self._descriptor = os.open(stored.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def want(self, indices: npt.NDArray[np.int64]) -> None:
        """Say which parts will be read soon; returns at once.

        Args:
            indices: Of the volumes, or of slices: v * D + d.
        """
        if self._descriptor is None or sys.platform != "linux":
            return
        volumes, positions = np.divmod(indices.ravel(), self._depth)
        for channel in range(self._channels):
            for part in ((volumes * self._channels + channel) * self._depth + positions).tolist():
                start = self._start + part * self._part
                os.posix_fadvise(self._descriptor, start, self._part, os.POSIX_FADV_WILLNEED)
