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
        stored: The array, as `PreparedSet.stored` gives it.
        axes: Leading axes that an index goes over: 1 for volumes, 2 for slices.
    """

    def __init__(self, stored: Int16, axes: int) -> None:
        self._part = int(np.prod(stored.shape[axes:])) * stored.itemsize
        self._start = 0
        self._descriptor: int | None = None
        if isinstance(stored, np.memmap) and stored.filename and sys.platform == "linux":
            self._start = stored.offset
            self._descriptor = os.open(stored.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._descriptor)

    def want(self, indices: npt.NDArray[np.int64]) -> None:
        """Say which parts will be read soon; returns at once.

        Args:
            indices: Of the parts, counted over the leading axes as one.
        """
        if self._descriptor is None or sys.platform != "linux":
            return
        for index in indices.ravel().tolist():
            start = self._start + index * self._part
            os.posix_fadvise(self._descriptor, start, self._part, os.POSIX_FADV_WILLNEED)
