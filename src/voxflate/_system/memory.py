"""The process's peak memory, the memory that is left, and running out of memory as one line.

PyTorch and NumPy have no common exception for it.
"""

from __future__ import annotations

import os
import platform
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from voxflate._system.errors import VoxflateError

_CPU = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory", "bad allocation", "bad_alloc")
"""Parts of the RuntimeErrors that PyTorch raises if CPU memory runs out."""

_GPU = (
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",  # since cuDNN 9
)
"""The same if CUDA's libraries get no GPU memory; PyTorch's own allocator raises an OutOfMemoryError."""

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_MACHINE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")
"""Limit and use of a cgroup, and the part of the use that the kernel gives up when asked."""


def peak_bytes() -> int:
    """The largest resident size that this process had."""
    # On Linux ru_maxrss starts with the size of the parent process; VmHWM does not.
    if peak := _of_status("VmHWM"):
        return peak
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def available_bytes() -> int:
    """Memory that this process can still get: of the machine, or less if its cgroups or `ulimit -v` say so.

    Where the system does not tell what is free, the installed memory.
    """
    free = _MACHINE.search(_text(_PROC / "meminfo"))
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([int(free[1]) * 1024 if free else installed, *_left_by_cgroups(), *_left_by_ulimit()])


def _left_by_ulimit() -> Iterator[int]:
    """What the limit of the address space leaves, with which SGE and PBS limit the memory of jobs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield max(0, limit - _of_status("VmSize"))


def _left_by_cgroups() -> Iterator[int]:
    """What the limits of containers and of a scheduler's jobs leave: of this cgroup and of those above it."""
    for line in _text(_PROC / "self" / "cgroup").splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root, names = (_CGROUPS / "memory", _V1) if kinds else (_CGROUPS, _V2)
        folder = root / path.strip("/")
        for one in (folder, *folder.parents):
            limit, used = (_text(one / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal():
                cache = re.search(rf"^{names[2]} (\d+)$", _text(one / "memory.stat"), re.MULTILINE)
                yield max(0, int(limit) - int(used) + (int(cache[1]) if cache else 0))
            if one == root:
                break


def _of_status(name: str) -> int:
    """A size of this process as Linux reports it, bytes; 0 elsewhere."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text(_PROC / "self" / "status"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _text(path: Path) -> str:
    """The content of a file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that CPU or GPU memory ran out.

    PyTorch is not imported for this: `torch.OutOfMemoryError` is recognised by name.
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = str(error)
    return type(error).__name__ == "OutOfMemoryError" or any(part in said for part in _CPU + _GPU)


@contextmanager
def explain_out_of_memory(advice: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory in the block into a one-line error.

    Args:
        advice: What needs the memory, and how to reduce it; called when needed.

    Raises:
        VoxflateError: If memory runs out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # The frames of the traceback hold tensors: the advice may need their memory.
        error.__traceback__ = None
        raise VoxflateError(f"out of memory: {advice()}") from None
