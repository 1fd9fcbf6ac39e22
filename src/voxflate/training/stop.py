"""Ends a run early without losing a step: SIGTERM (which SLURM sends) and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from voxflate._system.errors import TrainingStopped


class StopRequest:
    """Holds the request to end the run; training checks it after every step, on several GPUs every 16th.

    Args:
        tell: Called with a message when the request arrives.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.requested = False
        self._tell = tell
        self._saved: int | None = None
        self._at_once = False

    def ask(self) -> None:
        """Request the end of the run: after the step, or at once if nothing would be lost."""
        first, self.requested = not self.requested, True
        if first and self._tell is not None:
            self._tell("stopping: finishing the step and saving it; a second Ctrl-C stops at once")
        if self._at_once:
            raise TrainingStopped(self._saved)

    @contextlib.contextmanager
    def at_once(self, saved: int | None) -> Iterator[None]:
        """Mark a block in which everything is saved, so that a request ends it at once.

        Args:
            saved: Images shown by the newest snapshot; None before training has started.

        Raises:
            TrainingStopped: On a request before or during the block.
        """
        self._saved, self._at_once = saved, True
        try:
            if self.requested:
                raise TrainingStopped(saved)
            yield
        finally:
            self._at_once = False


@contextlib.contextmanager
def stop_on_signals(tell: Callable[[str], None] | None = None) -> Iterator[StopRequest]:
    """Turn SIGTERM and the first Ctrl-C into a request; the second Ctrl-C raises KeyboardInterrupt.

    Only the main thread may do this. The previous signal handlers are restored afterwards.

    Args:
        tell: Called with a message when the request arrives.
    """
    stop = StopRequest(tell)
    interrupts = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        if interrupts > 1:
            raise KeyboardInterrupt
        stop.ask()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
