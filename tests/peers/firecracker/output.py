"""Log and serial output: files or FIFOs that a slow reader cannot make us wait for."""

from __future__ import annotations

import os
import select
from datetime import UTC, datetime

_LEVELS = ("off", "error", "warning", "info", "debug", "trace")
_ATOMIC = 4096
"""A pipe that says it is writable takes this much (pipe(7), PIPE_BUF)."""


def open_for_writing(path: str, *, create: bool) -> int:
    """Open a file or FIFO as Firecracker does: without waiting for a reader of the FIFO. Raises `OSError`."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    return os.open(path, flags, 0o644)


def write_now(descriptor: int, data: bytes) -> int:
    """Write as much as goes without waiting; returns how many bytes were left out."""
    while data:
        piece = data[:_ATOMIC]
        try:
            if not _writable(descriptor):
                break
            data = data[os.write(descriptor, piece) :]
        except OSError:
            break
    return len(data)


def _writable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return any(events & select.POLLOUT for _, events in poller.poll(0))


class Log:
    """Lines as Firecracker's logger writes them. Goes to standard output until it is told where to.

    `missed` counts the lines that nobody took.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._descriptor = 1
        self._level = _LEVELS.index("info")
        self._show_level = False
        self.missed = 0

    def configure(self, *, path: str | None, level: str | None, show_level: bool | None) -> None:
        """Change what is given. Raises `OSError`."""
        if path is not None:
            self._descriptor = open_for_writing(path, create=True)
        if level is not None:
            self._level = _LEVELS.index(level.lower())
        if show_level is not None:
            self._show_level = show_level

    def write(self, text: str, *, level: str = "info", thread: str = "main") -> bool:
        """Write one line, if the level lets it; returns whether it was taken or not wanted."""
        if _LEVELS.index(level) > self._level:
            return True
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000"
        shown = f":{level.upper()}" if self._show_level else ""
        line = f"{stamp} [{self._identity}:{thread}{shown}] {text}\n"
        if write_now(self._descriptor, line.encode()):
            self.missed += 1
            return False
        return True


class Console:
    """Where the guest's serial console goes: standard output, or the file that was asked for."""

    def __init__(self) -> None:
        self._descriptor = 1
        self.written = 0
        self.dropped = 0

    def redirect(self, path: str) -> None:
        """Send what comes from now on to `path`. Raises `OSError`."""
        self._descriptor = open_for_writing(path, create=True)

    def take(self, data: bytes) -> None:
        """Write what the guest said, as far as it is taken."""
        left = write_now(self._descriptor, data)
        self.dropped += left
        self.written += len(data) - left
