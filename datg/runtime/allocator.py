"""Keeps freed memory inside the process, on Linux with glibc.

glibc hands large freed blocks back to the kernel and gets every page anew, zeroed, at the next allocation. Activations
are such blocks, freed and allocated again in every iteration: keeping them made an 84 x 84 conv4 step on two cores 2.5
times as fast, a 28 x 28 one 1.2 times.
"""

import ctypes
import sys

_KEEP = 1 << 40  # bytes; more than there is
_TOP_PAD = 64 << 20

# For processes that are yet to start; also one arena, because a trial does not run in the main thread there.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(_KEEP),
    "MALLOC_TOP_PAD_": str(_TOP_PAD),
}
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def keep_freed_memory() -> None:
    """Set up this process; allocations of its main thread benefit. Do nothing where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never; the largest int, 2 GiB, is less than an 84 x 84 step frees
        mallopt(_M_TOP_PAD, _TOP_PAD)
