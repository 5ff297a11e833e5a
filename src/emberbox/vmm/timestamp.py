"""The frequency of the host's time stamp counter (x86), which a guest under software emulation shares."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import time

_CODE = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_WINDOW_S = 0.05
_TRIES = 20
_FAILED = ctypes.c_void_p(-1).value


def tsc_khz() -> int | None:
    """Measure the frequency in kHz, to about 1 part in a million; None on other processors.

    Blocks for 50 ms. A guest's kernel measures it against a timer chip, and finds nothing where the
    host takes its processor away meanwhile, as a busy one does. It then has no clock at all, and
    its boot hangs: "Marking TSC unstable due to could not calculate TSC khz" is the last that it
    says. So it is always told.

    Raises:
        OSError: The system lets no process run code that it wrote itself, which emulation needs as well.
    """
    if platform.machine() != "x86_64":
        return None
    read = _callable(_CODE)
    start_ns, start = _sample(read)
    time.sleep(_WINDOW_S)
    end_ns, end = _sample(read)
    return round((end - start) / (end_ns - start_ns) * 1_000_000)


def _callable(code: bytes) -> ctypes._FuncPointer:
    """Return code as a function. It is never freed, being a page in all.

    Some systems let no page be writable and executable (systemd's MemoryDenyWriteExecute=). QEMU
    maps a file twice there; here one view, for running, is enough.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    file = os.memfd_create("emberbox-code", os.MFD_CLOEXEC)
    try:
        os.write(file, code)
        address = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, 0)
    finally:
        os.close(file)
    if address is None or address == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(address)


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
