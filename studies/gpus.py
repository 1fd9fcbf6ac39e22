"""Gives every run on a machine with several GPUs one of its own: a training would always take the first."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_SECONDS = 1.0


@contextmanager
def own_gpu(out: Path, wanted: int) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """Take a GPU that no other run of the study has, and wait for one if there is none.

    Where one GPU is visible, as in a job of SLURM, there is nothing to choose.

    Args:
        out: Folder of the study, which gets a lock file for each GPU.
        wanted: GPUs of a run; with 0, nothing is done.

    Yields:
        Variables for the environment of the run, and files that it must keep open.
    """
    names = _visible() if wanted else []
    if len(names) < 2:
        yield {}, ()
        return
    name, lock = _free(out, names)
    try:
        yield {_VISIBLE: name}, (lock,)
    finally:
        os.close(lock)


def _visible() -> list[str]:
    named = os.environ.get(_VISIBLE)
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _free(out: Path, names: Sequence[str]) -> tuple[str, int]:
    """The first GPU without a lock; its lock lasts until this process and its children have ended."""
    while True:
        for name in names:
            lock = os.open(out / f".gpu-{platform.node()}-{name}", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return name, lock
            except BlockingIOError:
                os.close(lock)
        time.sleep(_SECONDS)
