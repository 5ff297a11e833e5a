"""File locks that the kernel lets go of when their holder dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from emberbox.errors import DataFolderBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_POLL_S = 0.1


@contextlib.asynccontextmanager
async def locked(path: Path, *, what: str, timeout_s: float, shared: bool = False) -> AsyncIterator[None]:
    """Hold a lock on `path` (made when missing), waiting for whoever holds it.

    Raises:
        DataFolderBusy: It was not free within `timeout_s` seconds; `what` names it.
    """
    descriptor = _open(path)
    try:
        deadline = time.monotonic() + timeout_s
        while not try_lock(descriptor, shared=shared):
            if time.monotonic() >= deadline:
                raise DataFolderBusy(
                    f"another process is busy with {what}; it did not end within {timeout_s:.0f} s", detail=str(path)
                )
            await asyncio.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_now(path: Path, *, what: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock on `path` that must be free at once; raises `DataFolderBusy` where it is not."""
    descriptor = _open(path)
    try:
        if not try_lock(descriptor, shared=shared):
            raise DataFolderBusy(f"another process is busy with {what}; try again when it is done", detail=str(path))
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file or folder; returns False where somebody else holds it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """Tell whether somebody holds a lock on an existing file or folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
