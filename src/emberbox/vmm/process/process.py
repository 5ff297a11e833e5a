"""A VMM process that is watched and ended through its pidfd, whether this process started it or not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import VmmTimeout
from emberbox.tasks import set_within

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection

EXIT_UNKNOWN = 255
"""Exit code of a process whose parent this process is not."""
_GONE_S = 20.0


def all_pids() -> list[int]:
    """Return the pids of all processes that this one may see."""
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def start_time(pid: int) -> int | None:
    """Return when the process `pid` was started: no later one with its number has the same.

    Clock ticks after the boot, field 22 of /proc/PID/stat (proc(5)); None when there is no such process.
    """
    stat = _read(pid, "stat")
    return int(stat[stat.rindex(b")") + 2 :].split()[19]) if stat else None


def command_line(pid: int) -> list[str]:
    """Return the arguments of the process `pid`; empty when it is gone."""
    return [part.decode("utf-8", "surrogateescape") for part in _read(pid, "cmdline").split(b"\0")[:-1]]


def children(pid: int) -> list[int]:
    """Return the pids of the children of the process `pid`; empty when it is gone."""
    return [int(child) for child in _read(pid, f"task/{pid}/children").split()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def explain_signal(whose: str, number: int) -> str | None:
    """Return what it means that a signal ended a process, for people; None for a number that is no signal's.

    Args:
        whose: Whose process it was, such as `its VMM`.
        number: The signal's.
    """
    try:
        name = signal.Signals(number).name
    except ValueError:
        return None
    if name == "SIGKILL":
        who = "by the host for its use of memory, or by somebody"
        return f"{whose} was killed (SIGKILL): {who}; see the kernel's log (dmesg)"
    return f"{whose} was ended by a signal ({name})"


class VmmProcess:
    """A running VMM process.

    Args:
        pid: Host pid of the VMM itself, or of the init of its PID namespace, which ends with it and
            it with that.
        parent: The process that was started here and whose exit code tells the VMM's; None when adopted.
        wrapped: Whether `parent` is a wrapper, which reports a signal N as 128 + N.
        own_codes: Exit codes above 128 that are the VMM's own, and no signal's.
    """

    def __init__(
        self,
        pid: int,
        parent: subprocess.Popen[bytes] | None,
        *,
        wrapped: bool,
        own_codes: Collection[int] = (),
    ) -> None:
        self.pid = pid
        self.killed = False
        self._parent = parent
        self._wrapped = wrapped
        self._own_codes = own_codes
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._loop.add_reader(self._pidfd, self._on_end)

    @property
    def ended(self) -> bool:
        """Whether the process has ended. Does not block."""
        if not self._ended.is_set() and self._pidfd >= 0 and _readable(self._pidfd):
            self._on_end()
        return self._ended.is_set()

    async def wait(self) -> int:
        """Wait for the end; returns the exit code: negative for a signal, 255 for another's child."""
        await self._ended.wait()
        return await self._exit_code()

    async def kill(self) -> None:
        """End the process with SIGKILL and wait until it is gone. Repeating is harmless.

        Raises `VmmTimeout` after 20 s.
        """
        if not self.ended:
            self.killed = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            if not await set_within(self._ended, _GONE_S):
                raise VmmTimeout(f"VMM process {self.pid} did not end within {_GONE_S:g} s of SIGKILL")
        await self._exit_code()
        self.release()

    def release(self) -> None:
        """Stop watching and close the pidfd; the process goes on. Repeating is harmless."""
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._ended.set()

    async def _exit_code(self) -> int:
        if self._parent is None:
            return -signal.SIGKILL if self.killed else EXIT_UNKNOWN
        return await reap(self._parent, wrapped=self._wrapped, own_codes=self._own_codes)


def _readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


async def reap(parent: subprocess.Popen[bytes], *, wrapped: bool, own_codes: Collection[int] = ()) -> int:
    """Wait at most 20 s for an ending process, then kill it; returns its exit code."""
    code = parent.poll()
    pause_s = 0.0005
    waited_s = 0.0
    while code is None:
        if waited_s > _GONE_S:
            parent.kill()
        await asyncio.sleep(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 1.5, 0.05)
        code = parent.poll()
    return 128 - code if wrapped and code > 128 and code not in own_codes else code
