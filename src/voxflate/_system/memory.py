"""Running out of memory, in one line: what PyTorch and NumPy raise has no type of its own everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voxflate._system.errors import VoxflateError

_CPU = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory", "bad allocation", "bad_alloc")
"""Parts of the RuntimeErrors with which PyTorch says that the CPU's memory is used up."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception means that memory is used up, of the CPU or of a GPU.

    PyTorch is not imported for it: `torch.OutOfMemoryError` is known by its name.
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "OutOfMemoryError" or any(part in str(error) for part in _CPU)


@contextmanager
def memory_said(advice: Callable[[], str]) -> Iterator[None]:
    """Turn running out of memory in the block into one line.

    Args:
        advice: What took the memory, and how to take less of it; asked when it is needed.

    Raises:
        VoxflateError: If memory is used up.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        # The frames of the traceback hold tensors: the advice may need their memory.
        error.__traceback__ = None
        raise VoxflateError(f"out of memory: {advice()}") from None
