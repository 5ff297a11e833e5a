"""The open files that one QEMU process is given: it sees no folder, only these descriptors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    import socket
    from pathlib import Path


class Descriptors:
    """Descriptors to pass on, each closed here as soon as QEMU has its copies.

    `close` must be called once QEMU was started, or was not.
    """

    def __init__(self) -> None:
        self._owned: list[int] = []
        self._borrowed: list[int] = []
        self._sockets: list[socket.socket] = []

    @property
    def numbers(self) -> list[int]:
        """All descriptors that QEMU is to inherit, under the same numbers."""
        return [*self._owned, *self._borrowed, *(s.fileno() for s in self._sockets)]

    def open(self, path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """Open `path` and return the descriptor. Raises `OSError`."""
        return self.own(os.open(path, flags | os.O_CLOEXEC, mode))

    def own(self, descriptor: int) -> int:
        """Pass on `descriptor` and close it here in `close`."""
        self._owned.append(descriptor)
        return descriptor

    def borrow(self, descriptor: int) -> int:
        """Pass on `descriptor`, which stays open here."""
        self._borrowed.append(descriptor)
        return descriptor

    def listen(self, path: Path) -> int:
        """Listen on a new Unix socket at `path` and return the descriptor. Raises `OSError`."""
        server = sockets.listen(path)
        self._sockets.append(server)
        return server.fileno()

    def readable(self, path: Path) -> int:
        """Open `path` for QEMU to reopen by number under its uid: a private copy unless all may read it."""
        descriptor = self.open(path)
        if os.fstat(descriptor).st_mode & 0o004:
            return descriptor
        copy = self.own(os.memfd_create(path.name, os.MFD_CLOEXEC))
        while os.sendfile(copy, descriptor, None, 1 << 30):
            pass
        return copy

    def close(self) -> None:
        """Close what is ours. Repeating is harmless."""
        for descriptor in self._owned:
            os.close(descriptor)
        for server in self._sockets:
            server.close()
        self._owned.clear()
        self._sockets.clear()
        self._borrowed.clear()
