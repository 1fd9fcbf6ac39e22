"""Runs jobs on all cores, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from voxflate._system.cores import available_cores

Progress = Callable[[int, int], None]
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A pool with one thread per core; its waiting jobs are dropped if the block raises.

    Threads rather than processes: decompressing, sorting and interpolating all release the
    interpreter's lock, and nothing has to be copied to or imported in other processes.
    """
    pool = ThreadPoolExecutor(available_cores())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Like `pool.map`, but only a few results ahead of the consumer, so that memory is bounded."""
    ahead = 4 * available_cores()
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def counted(results: Iterator[R], total: int, progress: Progress | None) -> Iterator[R]:
    """Yield results and call `progress` (done, total) after each."""
    for done, result in enumerate(results, 1):
        if progress:
            progress(done, total)
        yield result
