"""System calls that Python's standard library lacks before 3.12, through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19
MNT_DETACH = 2
CLONE_NEWNS = 0x0002_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount as mount(2) does. Raises `OSError` with the target."""
    call = _libc().mount(source.encode(), target.encode(), _bytes(kind), ctypes.c_ulong(flags), _bytes(data))
    _check(call, target)


def unmount(target: str, flags: int) -> None:
    """Unmount as umount2(2) does. Raises `OSError`."""
    _check(_libc().umount2(target.encode(), flags), target)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root and move the present one to `old`. Raises `OSError`."""
    _check(_libc().syscall(ctypes.c_long(_PIVOT_ROOT[platform.machine()]), new.encode(), old.encode()), new)


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones. Raises `OSError`."""
    _check(_libc().unshare(flags), "unshare")


def enter_namespace(path: str, kind: int) -> None:
    """Join the namespace of the file at `path`. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc().setns(descriptor, kind), path)
    finally:
        os.close(descriptor)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, subject: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
