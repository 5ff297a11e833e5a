"""The frequency of the host's time stamp counter (x86), which a guest under software emulation shares."""

from __future__ import annotations

import ctypes
import mmap
import platform
import time

_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_WINDOW_S = 0.05
_TRIES = 20


def tsc_khz() -> int | None:
    """Measure the frequency in kHz, to about 1 part in a million; None on other processors or where the system forbids it.

    Blocks for 50 ms. The guest's kernel could measure it itself only with timers that microVMs do not have.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(_CODE)
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    start_ns, start = _sample(read)
    time.sleep(_WINDOW_S)
    end_ns, end = _sample(read)
    return round((end - start) / (end_ns - start_ns) * 1_000_000)


def _sample(read: ctypes._FuncPointer) -> tuple[float, int]:
    # The narrowest of some tries: between its two looks at the clock nothing else ran.
    samples = []
    for _ in range(_TRIES):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        ticks = int(read())
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        samples.append((after - before, (before + after) / 2, ticks))
    _, middle, ticks = min(samples)
    return middle, ticks
