"""Runs a child process that saves its work when it is asked to stop, and waits until it has done so."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType


def run_child(
    words: Sequence[str], variables: Mapping[str, str] | None = None, keep: Sequence[int] = ()
) -> tuple[int, int]:
    """Run a command; a request to stop does not end this process before its child.

    SIGTERM is passed on, because it may have been sent to this process only. Ctrl-C is not: the terminal
    sends it to the child as well, and a second one would stop a training at once.

    Args:
        words: The command.
        variables: Added to its environment.
        keep: Open files of this process that it keeps open, so that their locks last until it has ended, too.

    Returns:
        Its exit status, and the number of the signal that asked for the end, or 0.
    """
    environment = {**os.environ, **(variables or {})}
    with subprocess.Popen(words, env=environment, pass_fds=tuple(keep)) as process:
        asked: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            asked.append(number)
            if number == signal.SIGTERM:
                process.terminate()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return status, asked[0] if asked else 0
