"""Settings of the C library's memory allocator, for a process that runs for months."""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
_ARENAS = 2
_LARGE_BYTES = 131_072


def settle_allocator() -> bool:
    """Have glibc keep less memory that is free; returns False where the C library is another one.

    To be called before threads are started. By default each thread gets an arena of its own (up to
    eight for each processor), and what is freed in one is not used by the others: a service's
    memory grows for thousands of jobs before it stops. And blocks from 128 KiB up are given back at
    once only as long as the threshold does not move. Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_ARENA_MAX, _ARENAS)) and bool(mallopt(_MMAP_THRESHOLD, _LARGE_BYTES))
