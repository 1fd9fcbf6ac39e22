"""Tell the kernel what will be read next, so that the disk works while the network computes."""

from __future__ import annotations

import os
import sys
import weakref

import numpy as np
import numpy.typing as npt

from voxflate.data.prepared import Int16

BATCHES = 4
"""How many batches ahead the kernel is told to read."""


class Readahead:
    """Gives read hints for a memory-mapped array; does nothing for arrays in memory or without OS support.

    A set larger than memory is read in random order, so the kernel cannot predict the reads, and without
    hints the reads of a batch run one after the other (decision 0033).

    Args:
        stored: The array, as `PreparedSet.stored` gives it, int16 [N, C, D, H, W].
        slices: Whether indices are of axial slices with all channels, not of whole volumes.
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
        """Announce which parts will be read soon; returns at once.

        Args:
            indices: Indices of the volumes, or of the slices: v * D + d.
        """
        if self._descriptor is None or sys.platform != "linux":
            return
        volumes, positions = np.divmod(indices.ravel(), self._depth)
        for channel in range(self._channels):
            for part in ((volumes * self._channels + channel) * self._depth + positions).tolist():
                start = self._start + part * self._part
                os.posix_fadvise(self._descriptor, start, self._part, os.POSIX_FADV_WILLNEED)
