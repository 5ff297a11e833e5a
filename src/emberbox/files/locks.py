"""Locks on files and folders (flock(2)), which the kernel takes from their holder when that dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

from emberbox.errors import DataFolderBusy, EmberboxError
from emberbox.tasks import acquired

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_S = 0.1
_REPLACED = 100
"""How often in a row a file may be replaced by another while it is locked."""


class Lock:
    """A lock that is held: until `release`, the end of its `with` block, or the end of this process.

    No program that this process starts inherits it.

    Args:
        descriptor: The locked file or folder, open. Closed by `release`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor; -1 after `release`."""
        return self._descriptor

    def release(self) -> None:
        """Let go of the lock. Repeating is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def try_lock(path: Path, *, shared: bool = False, make: bool = True) -> Lock | None:
    """Take a lock that is free at once.

    What is locked is what has the name `path` afterwards, also when somebody replaces it meanwhile.

    Args:
        path: A file, which is made when missing, for its owner alone. No link is followed at its end.
        shared: Whether others may hold it as well, if theirs are shared.
        make: False for a file or a folder that must exist.

    Returns:
        The lock; None where somebody else holds it.

    Raises:
        OSError: It cannot be opened; `FileNotFoundError` when it does not exist.
    """
    flags = (os.O_RDWR | os.O_CREAT if make else os.O_RDONLY) | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(_REPLACED):
        with contextlib.ExitStack() as undo:
            descriptor = os.open(path, flags, 0o600)
            undo.callback(os.close, descriptor)
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            if _has_name(descriptor, path):
                undo.pop_all()
                return Lock(descriptor)
    return None


def take_lock(path: Path, *, what: str, shared: bool = False, make: bool = True) -> Lock:
    """Take a lock that must be free at once. Arguments are those of `try_lock`.

    Raises:
        DataFolderBusy: Somebody else holds it; `what` says what others do while they hold it.
        OSError: It cannot be opened.
    """
    lock = try_lock(path, shared=shared, make=make)
    if lock is None:
        told = f"another process is busy with {what}; try again when it is done"
        raise DataFolderBusy(told, detail=str(path))
    return lock


async def wait_for_lock(
    path: Path,
    *,
    what: str,
    timeout_s: float,
    shared: bool = False,
    waiting: Callable[[], None] | None = None,
    busy: type[EmberboxError] = DataFolderBusy,
) -> Lock:
    """Take a lock, waiting for whoever holds it; cancelling leaves nothing locked. Never blocks the loop.

    Args:
        path: A file, which is made when missing.
        what: What others do while they hold it, for the error.
        timeout_s: The longest that is waited.
        shared: Whether others may hold it as well, if theirs are shared.
        waiting: Called once when it is not free at once.
        busy: The error for a lock that did not become free.

    Raises:
        EmberboxError: Of the class `busy`.
        OSError: It cannot be opened.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + timeout_s
    # A thread that is under way goes on when its caller is cancelled: what it still gets is given back.
    while (lock := await acquired(asyncio.to_thread(try_lock, path, shared=shared), _give_back)) is None:
        if clock() >= deadline:
            told = f"another process is busy with {what}; it did not end within {timeout_s:.0f} s"
            raise busy(f"{told}: end it, or try again when it is done", detail=str(path))
        if waiting is not None:
            waiting()
            waiting = None
        await asyncio.sleep(_LOOK_S)
    return lock


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds a lock on a file or folder; False where there is none. Raises `OSError`."""
    try:
        lock = try_lock(path, make=False)
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    lock.release()
    return False


def _has_name(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


async def _give_back(lock: Lock | None) -> None:
    if lock is not None:
        lock.release()
