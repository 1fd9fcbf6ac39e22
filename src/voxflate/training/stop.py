"""Ending a training early without losing a step: SIGTERM (what SLURM sends) and Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from voxflate._system.errors import TrainingStopped


class StopRequest:
    """Remembers that the training shall end; asked for after every step.

    Args:
        tell: Told that the request has arrived.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.requested = False
        self._tell = tell
        self._saved: int | None = None
        self._at_once = False

    def ask(self) -> None:
        """Ask for the end: after the step, or now where nothing would be lost."""
        first, self.requested = not self.requested, True
        if first and self._tell is not None:
            self._tell("stopping: finishing the step and saving it; a second Ctrl-C stops at once")
        if self._at_once:
            raise TrainingStopped(self._saved)

    @contextlib.contextmanager
    def at_once(self, saved: int | None) -> Iterator[None]:
        """While the block runs nothing is unsaved: a request ends it right away.

        Args:
            saved: Images of the snapshot that has everything; None where nothing has begun.

        Raises:
            TrainingStopped: On a request before the block or in it.
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
    """Turn SIGTERM and the first Ctrl-C into a request; the second Ctrl-C is a KeyboardInterrupt.

    Only the main thread may do this. Afterwards signals do what they did before.

    Args:
        tell: Told that the request has arrived.
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
