"""The QEMU process: started, heard, watched and ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.qmp import Qmp, QmpError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.peers.firecracker.output import Console

_SET_PDEATHSIG = 1


class QemuProcess:
    """A QEMU that ends with this process, at the latest.

    Args:
        console: Where its serial console goes.
        on_event: Called with each QMP event's name and data.
        on_exit: Called when it has ended, unless it was closed here before.
    """

    def __init__(
        self, console: Console, on_event: Callable[[str, dict[str, Any]], None], on_exit: Callable[[], None]
    ) -> None:
        self._console = console
        self._on_event = on_event
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._control: Qmp | None = None
        self._relaying: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its pid. Raises `QmpError` when it was not started."""
        if self._process is None:
            raise QmpError("QEMU was not started")
        return self._process.pid

    async def start(self, command: Callable[[int, int], list[str]], inherited: list[int]) -> None:
        """Start it and wait until it takes commands.

        Args:
            command: Makes the arguments of two connected sockets: for QMP, and for the serial console.
            inherited: Other descriptors that it gets under the same numbers.

        Raises:
            OSError: It cannot be started.
            QmpError: It ended at once; its standard error tells why.
        """
        control, control_theirs = socket.socketpair()
        console, console_theirs = socket.socketpair()
        with control_theirs, console_theirs:
            self._control = Qmp(control, self._on_event)
            self._relaying = asyncio.create_task(self._relay(console), name="console")
            theirs = (control_theirs.fileno(), console_theirs.fileno())
            self._process = _spawn(command(*theirs), [*theirs, *inherited])
        self._pidfd = os.pidfd_open(self._process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended)
        await self._control.open()

    async def execute(
        self, command: str, values: dict[str, Any] | None = None, *, fd: int | None = None
    ) -> Any:
        """Run a QMP command and return what it returns; `fd` is passed along. Raises `QmpError`."""
        if self._control is None:
            raise QmpError("QEMU was not started")
        return await self._control.execute(command, values, fd=fd)

    async def close(self) -> None:
        """End it. Repeating is harmless."""
        self._unwatch()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._relaying is not None:
            self._relaying.cancel()
            await asyncio.gather(self._relaying, return_exceptions=True)
        if self._control is not None:
            await self._control.close()

    async def _relay(self, console: socket.socket) -> None:
        with console:
            console.setblocking(False)
            loop = asyncio.get_running_loop()
            while data := await loop.sock_recv(console, 65_536):
                self._console.take(data)

    def _ended(self) -> None:
        self._unwatch()
        self._on_exit()

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _spawn(command: list[str], inherited: list[int]) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    # SIGXFSZ stays ignored (restore_signals), as in this process.
    return subprocess.Popen(
        command,
        pass_fds=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={},
        restore_signals=False,
        preexec_fn=die_with_parent,
    )
