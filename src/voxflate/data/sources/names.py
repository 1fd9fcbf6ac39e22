"""Pseudonyms for people and scans: the same every time, and not reversible.

A pseudonym is the keyed hash (HMAC-SHA-256) of the source's name for a person or scan. Without the key, the
salt, nobody can guess names and compare. The salt is 32 random bytes in a file of the user, made at first use
and never copied into a prepared set. With the same salt, the same people get the same pseudonyms again.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from voxflate._system.errors import VoxflateError
from voxflate._system.files import config_folder
from voxflate.data.outside import check_outside_sets

SALT_FILE = "VOXFLATE_SALT_FILE"
"""Environment variable with the path of the salt."""

_SMALLEST_SALT = 16
_DIGITS = 12


@dataclass(frozen=True)
class Pseudonyms:
    """Makes pseudonyms with a salt.

    Attributes:
        salt: The key; must not be written anywhere.
    """

    salt: bytes = field(repr=False)

    def subject(self, name: str) -> str:
        """The pseudonym of a person, "subject-" and 12 hexadecimal digits."""
        return f"subject-{self._digest('subject', name)}"

    def scan(self, name: str) -> str:
        """The pseudonym of a scan, "scan-" and 12 hexadecimal digits.

        Args:
            name: Its path below the source.
        """
        return f"scan-{self._digest('scan', name)}"

    def _digest(self, kind: str, name: str) -> str:
        return hmac.new(
            self.salt, f"{kind}\0{name}".encode("utf-8", "surrogateescape"), hashlib.sha256
        ).hexdigest()[:_DIGITS]


def salt_path() -> Path:
    """Path of the salt: `VOXFLATE_SALT_FILE`, or voxflate/salt in the user's configuration folder."""
    if chosen := os.environ.get(SALT_FILE):
        return Path(chosen)
    return config_folder() / "salt"


def load_salt(path: Path | None = None, out: Path | None = None) -> bytes:
    """Read or create the salt: 64 hexadecimal digits in a file that only the user may read.

    Args:
        path: Its file; `salt_path` if None.
        out: Folder of the set to prepare, which must not hold the salt; None for none.

    Raises:
        VoxflateError: If it can be neither read nor created, is too short to be a secret, or lies in a set.
    """
    path = path or salt_path()
    check_outside_sets(path)
    if out is not None and path.resolve().is_relative_to(out.resolve()):
        raise VoxflateError(f"{path}: would put the salt inside the prepared set; put --salt-file elsewhere")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
    except FileExistsError:  # created by another process in the meantime
        return _read(path)
    except OSError as error:
        raise VoxflateError(
            f"{path}: the salt of the pseudonyms cannot be stored there ({error.strerror or error}); give a "
            f"path with --salt-file FILE or {SALT_FILE}"
        ) from error
    return _read(path)


def _make(path: Path) -> None:
    """Write a new salt, whole or not at all, unless another process has just created one."""
    descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)  # only for the user
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        os.unlink(temporary)


def _read(path: Path) -> bytes:
    try:
        salt = path.read_bytes().strip()
    except OSError as error:
        raise VoxflateError(f"{path}: the salt cannot be read ({error.strerror or error})") from error
    if len(salt) < _SMALLEST_SALT:
        raise VoxflateError(
            f"{path}: the salt has {len(salt)} bytes, at least {_SMALLEST_SALT} are needed; delete the file "
            "to get a new one, or give another with --salt-file"
        )
    return salt
