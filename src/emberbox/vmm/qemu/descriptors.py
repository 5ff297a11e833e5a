"""The open files that one QEMU process is given: it sees no folder, only these descriptors."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    from pathlib import Path


class Descriptors(ExitStack):
    """Descriptors to pass on; those that are ours are closed here at the end of a `with` block.

    By then QEMU has its copies, or was not started.

    Attributes:
        numbers: All descriptors that QEMU is to inherit, under the same numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []

    def open(self, path: Path, flags: int = os.O_RDONLY) -> int:
        """Open `path` and return the descriptor. Raises `OSError`."""
        return self.own(os.open(path, flags | os.O_CLOEXEC, 0o600))

    def own(self, descriptor: int) -> int:
        """Pass on `descriptor` and close it here."""
        self.callback(os.close, descriptor)
        return self.borrow(descriptor)

    def borrow(self, descriptor: int) -> int:
        """Pass on `descriptor`, which stays open here."""
        self.numbers.append(descriptor)
        return descriptor

    def listen(self, path: Path) -> int:
        """Listen on a new Unix socket at `path` and return the descriptor. Raises `OSError`."""
        return self.borrow(self.enter_context(sockets.listen(path)).fileno())

    def readable(self, path: Path) -> int:
        """Open `path` for QEMU to reopen by number under its uid: a private copy unless all may read it."""
        descriptor = self.open(path)
        if os.fstat(descriptor).st_mode & 0o004:
            return descriptor
        copy = self.own(os.memfd_create(path.name, os.MFD_CLOEXEC))
        while os.sendfile(copy, descriptor, None, 1 << 30):
            pass
        return copy
