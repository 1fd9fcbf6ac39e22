"""The process's peak memory, and running out of memory as one line.

PyTorch and NumPy have no common exception for it.
"""

from __future__ import annotations

import platform
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from voxflate._system.errors import VoxflateError

_CPU = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory", "bad allocation", "bad_alloc")
"""Parts of the RuntimeErrors that PyTorch raises if CPU memory runs out."""


def peak_bytes() -> int:
    """The largest resident size that this process had."""
    # On Linux ru_maxrss starts with the size of the parent process; VmHWM does not.
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception means that CPU or GPU memory ran out.

    PyTorch is not imported for this: `torch.OutOfMemoryError` is recognised by name.
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "OutOfMemoryError" or any(part in str(error) for part in _CPU)


@contextmanager
def memory_said(advice: Callable[[], str]) -> Iterator[None]:
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
