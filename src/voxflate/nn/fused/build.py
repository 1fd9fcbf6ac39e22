"""Builds and loads the compiled kernels, or tells in one line why there are none.

`kernels.cpp` and `winograd.cpp` are built with the machine's C++ compiler at first use (about ten seconds),
and cached under a hash of source, compiler, flags and processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from voxflate._system.errors import VoxflateError
from voxflate._system.files import cache_folder, read_json, sha256, whole_file, write_json

log = logging.getLogger("voxflate")

SOURCES = tuple(Path(__file__).with_name(name) for name in ("kernels.cpp", "winograd.cpp"))
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
BUILD_SECONDS = 120
USUAL_COMPILERS = ("c++", "g++", "clang++")
SWITCH = "VOXFLATE_KERNELS"
"""Environment variable; "plain" switches the kernels off."""
COST = (
    "training on the CPU takes 1.2 to 1.9 times as long in float32, 1.8 to 3.1 times in bfloat16 "
    "(docs/performance.md)"
)


class Kernels(NamedTuple):
    """The result of `kernels`.

    Attributes:
        library: The loaded kernels, or None.
        problem: Why there are none, in one line; empty if there are.
    """

    library: ctypes.CDLL | None
    problem: str


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """Load the kernels, and build them first if necessary; once per process, with one warning on failure."""
    if os.environ.get(SWITCH) == "plain":
        return Kernels(None, f"{SWITCH}=plain")
    try:
        return Kernels(_loaded(), "")
    except (OSError, VoxflateError) as error:
        problem = _first_line(str(error))
        log.warning("no compiled kernels, %s: %s", COST, problem)
        return Kernels(None, problem)


def has_openmp() -> bool:
    """Tell whether the kernels use several threads; without OpenMP they use one."""
    library = kernels().library
    return library is not None and bool(library.voxflate_has_openmp())


def _loaded() -> ctypes.CDLL:
    """The library for this source, compiler and processor; built if it is missing or damaged.

    Raises:
        VoxflateError: If there is no compiler, it fails, or the cache folder cannot be written.
        OSError: If the built library cannot be loaded.
    """
    compiler = _compiler()
    # A home folder may be shared by machines with different processors.
    key = (*(source.read_bytes() for source in SOURCES), compiler, FLAGS, platform.machine(), _processor())
    name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    path = cache_folder() / "kernels" / f"{name}.so"
    record = path.with_suffix(".json")
    # A truncated file, such as a copy to a full disk, would crash the process on use.
    if not _is_whole(path, record):
        with whole_file(path) as temporary:
            _compile(compiler, temporary)
        write_json(record, {"sha256": sha256(path)})
    return ctypes.CDLL(str(path))


def _is_whole(library: Path, record: Path) -> bool:
    """Tell whether a built library exists and matches its record."""
    try:
        return bool(read_json(record)["sha256"] == sha256(library))
    except (OSError, VoxflateError, KeyError, TypeError):
        return False


def _compiler() -> list[str]:
    """The compiler's command: $CXX, otherwise the first of the usual ones.

    Raises:
        VoxflateError: If it is not installed.
    """
    if chosen := shlex.split(os.environ.get("CXX", "")):
        if shutil.which(chosen[0]) is None:
            raise VoxflateError(f"CXX={os.environ['CXX']} is not a program; unset it or name a C++ compiler")
        return chosen
    for name in USUAL_COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise VoxflateError("there is no C++ compiler; install one (on Debian and Ubuntu: apt install g++)")


def _compile(compiler: list[str], to: Path) -> None:
    """Build the kernels.

    Raises:
        VoxflateError: If the compiler fails; names it and the first line of its error.
    """
    command = [*compiler, *FLAGS, *map(str, SOURCES), "-o", str(to)]
    if _run([*command, "-fopenmp"]).returncode == 0:
        return
    # Some compilers lack OpenMP: the kernels then use one thread.
    result = _run(command)
    if result.returncode:
        raise VoxflateError(f"{_version(compiler)} failed: {_first_error(result.stderr)}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a compiler; its messages may be in any language.

    Raises:
        VoxflateError: If it does not finish in time, or cannot be started.
    """
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=BUILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise VoxflateError(f"{command[0]} was stopped after {BUILD_SECONDS} s") from error
    except OSError as error:
        raise VoxflateError(f"{command[0]} cannot be started: {error.strerror}") from error


def _version(compiler: list[str]) -> str:
    """The compiler's command and the first line of its version."""
    name = shlex.join(compiler)
    said = _first_line(_run([*compiler, "--version"]).stdout)
    return f"{name} ({said})" if said else name


def _first_error(stderr: str) -> str:
    """The first line with an error rather than a location or a warning."""
    errors = (line for line in stderr.splitlines() if "error" in line.lower())
    return next(errors, _first_line(stderr)).strip() or "it gave no reason"


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _processor() -> str:
    """The facts that -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
