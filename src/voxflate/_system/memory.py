"""Reports running out of memory in one line; PyTorch and NumPy have no common exception for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from voxflate._system.errors import VoxflateError

_CPU = ("can't allocate memory", "DefaultCPUAllocator", "not enough memory", "bad allocation", "bad_alloc")
"""Parts of the RuntimeErrors that PyTorch raises if CPU memory runs out."""


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
