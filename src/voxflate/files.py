"""Files and folders are written whole or not at all: temporary name, fsync, rename."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voxflate.errors import VoxflateError


def cache_folder() -> Path:
    """Where what can be made again is kept: `$VOXFLATE_CACHE`, else `voxflate` in the user's cache folder."""
    if chosen := os.environ.get("VOXFLATE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "voxflate"


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well.

    The data is on the disk before the name is, so a reader (or a killed process) finds the old file
    or the new one, never half of one. On an error the temporary file goes and the old file stays.

    Args:
        path: The file to write. Its folder is made if it is missing.

    Yields:
        The path to write to; it has the suffixes of `path`, which some writers look at.

    Raises:
        VoxflateError: If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise VoxflateError(_cannot_be_written(path, error)) from error
    finally:
        with contextlib.suppress(OSError):  # a parent that is a file has no such entry either
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that takes its name when the block ends well.

    On an error it goes, and with it every parent folder that was made for it.

    Args:
        path: The folder to make; see `check_new_folder`.

    Yields:
        The folder to write to. What must survive a power cut has to be synced by its writer.

    Raises:
        VoxflateError: If the disk is full or the folder cannot be made.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    new_parents = [parent for parent in path.parents if not parent.exists()]
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise VoxflateError(_cannot_be_written(path, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in new_parents:  # the innermost first; one that holds the result stays
            with contextlib.suppress(OSError):
                parent.rmdir()


def check_new_folder(path: str | Path) -> None:
    """Check that a folder can be made here without writing over anything.

    Raises:
        VoxflateError: If there is a file or a folder with something in it, or if it is the folder that the
            command runs in, which cannot be replaced.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise VoxflateError(
            f"{path}: already exists and is not an empty folder; choose another, or delete it first"
        )
    if path.name in ("", ".."):
        raise VoxflateError(f"{path}: is the folder that you are in, or one above it; name a new one")


def _cannot_be_written(path: Path, error: OSError) -> str:
    return (
        f"{path}: cannot be written ({error.strerror or error}); free some space or choose another folder, "
        "then run the same command again"
    )


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every file system can, so a refusal is no error."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        VoxflateError: If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise VoxflateError(f"{path}: is not valid JSON ({error})") from error


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
