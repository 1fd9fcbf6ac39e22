"""Allows one process per run folder: a lock of the operating system, and its holder in JSON.

The kernel releases the lock when its process ends for any reason, so no stale lock remains.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import cannot_be_written, parse_json

LOCK_NAME = "run.lock"
_LARGEST = 4096
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def run_lock(run: Path, tell: Callable[[str], None] = lambda note: None) -> Iterator[None]:
    """Hold the run folder while the block runs; if it was created and stays empty, it is removed.

    Args:
        run: The folder; created if missing.
        tell: Called with a message if the file system has no locks; the block then runs without one.

    Raises:
        VoxflateError: If another process holds the folder (gives its pid and host), or it cannot be written.
    """
    new_parents = [folder for folder in (run, *run.parents) if not folder.exists()]
    path = run / LOCK_NAME
    try:
        run.mkdir(parents=True, exist_ok=True)
        descriptor = _open(path, tell)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while we still hold the lock
        os.close(descriptor)
        for folder in new_parents:  # innermost first; folders that are not empty stay
            with contextlib.suppress(OSError):
                folder.rmdir()


def _open(path: Path, tell: Callable[[str], None]) -> int:
    """Lock the file and write its holder."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise VoxflateError(
                f"{path.parent}: is in use by {owner}; wait for it, stop it, or choose another folder"
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            tell(
                f"{path.parent}: its file system has no locks ({error.strerror}); do not start a second "
                "run in it"
            )
        # The previous holder may have removed the file between our opening and our locking it.
        if _is_at(descriptor, path):
            break
        os.close(descriptor)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(facts).encode())
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _owner(descriptor: int) -> str:
    """The holder of the lock, in words; the file may contain anything."""
    try:
        facts = parse_json(os.pread(descriptor, _LARGEST, 0).decode())
        return f"process {int(facts['pid'])} on {facts['host']!s:.80} since {facts['since']!s:.40}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
