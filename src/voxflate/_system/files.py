"""Writes files and folders whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path, user_config_path

from voxflate._system.errors import VoxflateError, WriteError

UNFINISHED = ".tmp-*"
"""Pattern of the temporary names of all writers here."""
LARGEST_JSON = 64 * 2**20
"""Largest size in bytes; a manifest of a hundred thousand scans is smaller."""


def cache_folder() -> Path:
    """Folder for files that can be remade: `$VOXFLATE_CACHE`, or `voxflate` in the user's cache folder."""
    if chosen := os.environ.get("VOXFLATE_CACHE"):
        return Path(chosen)
    return _in_use("XDG_CACHE_HOME", ".cache") or user_cache_path("voxflate")


def config_folder() -> Path:
    """Folder for files that must not be lost: `voxflate` in the user's configuration folder."""
    return _in_use("XDG_CONFIG_HOME", ".config") or user_config_path("voxflate")


def _in_use(variable: str, usual: str) -> Path | None:
    """The folder used by the first versions, if it exists; on macOS it has changed (decision 0092)."""
    folder = Path(os.environ.get(variable) or Path.home() / usual) / "voxflate"
    return folder if folder.is_dir() else None


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; rename it to `path` when the block succeeds.

    The data is synced before the rename, so a reader or a killed process finds the old file or the new one,
    never a partial one. On an error the temporary file is removed and the old file is kept.

    Args:
        path: The file to write. Its folder is created if missing.

    Yields:
        The path to write to; it has the suffixes of `path`, which some writers check.

    Raises:
        VoxflateError: If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # for example if the parent is a file
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`; rename it to `path` when the block succeeds.

    On an error it is removed, with every parent folder that was created for it.

    Args:
        path: The folder to create, or a link to it; see `check_new_folder`.

    Yields:
        The folder to write to. The writer must sync everything that must survive a power failure.

    Raises:
        VoxflateError: If the disk is full or the folder cannot be created.
    """
    path = _linked(path)
    temporary = _temporary(path)
    new_parents = [parent for parent in path.parents if not parent.exists()]
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new_parents:  # innermost first; one that contains the result is kept
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextlib.contextmanager
def continued_folder(path: str | Path) -> Iterator[Path]:
    """Like `whole_folder`, for long work: after an interruption the next call continues.

    The temporary folder always has the same name. It is kept if the process is interrupted or killed or
    the disk is full; a `VoxflateError` (bad input) removes it.

    Args:
        path: The folder to create, or a link to it; see `check_new_folder`.

    Yields:
        The folder to write to. The writer must check what is already in it.

    Raises:
        VoxflateError: If another process works on it, the disk is full, or the folder cannot be created.
    """
    path = _linked(path)
    temporary = path.with_name(f".tmp-unfinished-{path.name}")
    new_parents = [parent for parent in path.parents if not parent.exists()]
    lock = None
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        lock = _lock(temporary / ".lock", path)
        yield temporary
        _unlock(lock, temporary / ".lock")
        lock = None
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    except WriteError:  # a file inside met the full disk first
        raise
    except VoxflateError:
        if lock is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            _unlock(lock, temporary / ".lock")
        for parent in new_parents:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _lock(path: Path, purpose: Path) -> int:
    """Take a lock that ends with the process, for whatever reason it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise VoxflateError(
            f"{purpose}: another process is writing this; wait, or choose another place"
        ) from error
    except OSError:  # not every file system has locks
        pass
    return descriptor


def _unlock(descriptor: int, path: Path) -> None:
    """Release a lock, once: the system may give its descriptor to another file afterwards."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        os.close(descriptor)


def check_new_folder(path: str | Path) -> None:
    """Check that a folder can be made here without overwriting anything.

    A link stands for the folder that it leads to.

    Raises:
        VoxflateError: If it is a file or a folder that is not empty, the current folder or a mount point,
            which cannot be replaced, or a link in a loop.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise VoxflateError(
            f"{path}: already exists and is not an empty folder; choose another, or delete it first"
        )
    if path.name in ("", "..") or (path.is_dir() and path.samefile(".")):
        raise VoxflateError(f"{path}: is the current folder, or one above it; choose a new one")
    place = _linked(path)
    if place.is_symlink():
        raise VoxflateError(f"{path}: is a link that leads in a loop; choose another folder, or remove it")
    if _is_mount_point(place):
        raise VoxflateError(
            f"{path}: is a mount point, which the finished folder cannot replace; choose a folder inside it, "
            f"such as {path / 'new'}"
        )


def check_writable(path: str | Path) -> None:
    """Check before long work that a file can be written to its folder; nothing is left there.

    Raises:
        VoxflateError: Gives the system's reason.
    """
    path = Path(path)
    try:
        folder = next((parent for parent in path.parents if parent.exists()), Path())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_be_written(path, error) from error


def _linked(path: str | Path) -> Path:
    """The folder that a link leads to, as no folder can be renamed to a link; other paths as they are."""
    path = Path(path)
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_mount_point(path: Path) -> bool:
    """Whether something is mounted at a path; on Linux also a folder of the same disk (a bind mount)."""
    if os.path.ismount(path):
        return True
    escaped = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", os.path.realpath(path))
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        return any(line.split(" ")[4] == escaped for line in mounts.split("\n") if line)
    return False


def cannot_be_written(path: Path, error: OSError) -> WriteError:
    """The error for a refused write: the system's reason, and what to do."""
    advice = "free some space or choose another folder"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "make its folder writable or choose another"
    elif error.errno == errno.ENOENT:
        advice = "its folder was removed, or cannot contain files; choose another"
    elif error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
        advice = "something else has this name; choose another"
    elif error.errno == errno.ENAMETOOLONG:
        advice = "choose a shorter name"
    reason = error.strerror or error
    return WriteError(f"{path}: cannot be written ({reason}); {advice}, then run the same command again")


def _temporary(path: Path) -> Path:
    """A name next to `path` that is unpredictable, so that nobody can have placed a link there."""
    return path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def check_no_links(folder: Path) -> None:
    """Refuse a folder with a symbolic link that leads outside: writes would end up elsewhere.

    Raises:
        VoxflateError: Names the link and its target.
    """
    root = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise VoxflateError(
                    f"{path}: is a link that leads out of its folder, to {os.readlink(path)}; nothing is "
                    "written through it: replace it with the file, or remove it"
                )


def _sync_folder(folder: Path) -> None:
    """Make the rename durable; not every file system can, so errors are ignored."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, largest: int = LARGEST_JSON) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        largest: Largest size, bytes.

    Raises:
        VoxflateError: If the file is missing, too large, nested too deeply, or is not JSON.
    """
    path = Path(path)
    try:
        if (size := path.stat().st_size) > largest:
            raise VoxflateError(
                f"{path}: has {size:,} bytes, at most {largest:,} are read; is it the right file?"
            )
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such file") from error
    except OSError as error:
        raise VoxflateError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise VoxflateError(f"{path}: is not valid JSON ({error}); restore a good copy") from error


def parse_json(text: str, *, unique: bool = False) -> Any:
    """Parse JSON, and refuse NaN, infinity, overlong numbers and excessive nesting.

    Args:
        text: The JSON.
        unique: Refuse repeated names in an object, of which only the last would count.

    Raises:
        ValueError: If the text is not such JSON.
    """

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not a JSON number")

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=_unique if unique else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has {twice!r:.40} twice")
    return found


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
