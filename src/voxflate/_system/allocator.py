"""Keep freed memory: glibc's malloc hands large blocks back to the kernel and faults them in again.

Every activation of a 3D network is such a block. Decision 0008: holding on to them saves the page faults,
over a quarter of a small training step on a CPU. Nothing happens where the C library is another one (macOS,
Windows, musl).
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell glibc never to map single blocks and never to give memory back; say whether it listened.

    The environment variable GLIBC_TUNABLES would do the same, but only before the process starts.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 << 20))
    return all(mallopt(option, value) == 1 for option, value in settings)
