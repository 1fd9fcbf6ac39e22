"""The package's version, in the lowest room, because all rooms write it into files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__version__ = "0.1.0"

_SOURCES = ("*.py", "*.cpp")


@cache
def source_hash() -> str:
    """The first 12 hex digits of the SHA-256 of the package's source files.

    Between releases the version stays the same while the code changes; this tells which code made a result.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _SOURCES for path in root.rglob(pattern)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]
