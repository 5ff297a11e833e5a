"""A machine that runs in a QEMU process."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.tasks import set_within
from emberbox.vmm.base import MachineState
from emberbox.vmm.machine import VmmMachine
from emberbox.vmm.process import sockets
from emberbox.vmm.process.process import explain_signal
from emberbox.vmm.qemu.apic import timer_state

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from emberbox.vmm.base import TimerState
    from emberbox.vmm.process.cgroup import Cgroup
    from emberbox.vmm.qemu.launch import ConfinedQemu

_CONTROL_S = 10.0
_PART_S = 180.0
"""How long an agent may take to notice that its host has gone; a busy host may leave the guest
without a processor for long."""
_STATUSES = {
    "internal-error": "its VMM met an error that it cannot go on after, and stopped the processors",
    "guest-panicked": "its kernel panicked, and its VMM stopped the processors",
    "io-error": "its VMM could not read or write a drive, and stopped the processors",
    "watchdog": "its watchdog fired, and its VMM stopped the processors",
    "shutdown": "it was shut down, and its VMM waits to be ended",
}
"""What a stop of the vCPUs means (`RunState` of QEMU's qapi/run-state.json)."""


class QemuMachine(VmmMachine):
    """A `Machine`, `PartingMachine` and `TimedMachine` of the QEMU driver.

    Args:
        launched: Its process, whose undo steps belong to the machine from here on.
        memory: The file that holds its memory, if it is a template; None otherwise.
        boots: Whether its kernel boots, and has its timer to measure.
    """

    def __init__(self, launched: ConfinedQemu, *, memory: Path | None = None, boots: bool = False) -> None:
        process, undo = launched.process, launched.undo
        super().__init__("qemu", launched.spec, process, launched.pid, undo, memory=memory)
        self.control = launched.control
        self._launched = launched
        self._boots = boots
        self._port_opened = asyncio.Event()
        self.visited = False
        """Whether a host has been at the channel whose going the guest is not known to have noticed."""
        self.control.on_event = self.take_event

    @property
    def timer_hz(self) -> float | None:
        """The timer frequency that its kernel should find (`TimedMachine`); None where it measures none."""
        return self._launched.host.hardware.timer_hz if self._boots else None

    async def open_channel(self) -> tuple[StreamReader, StreamWriter]:
        """Connect to the agent's byte stream. One connection at a time; raises `VmmDied`.

        Does not wait for the guest: what is sent is kept until its agent reads it.
        """
        try:
            client = sockets.connect(self._spec.channel_socket)
        except OSError as error:
            raise VmmDied(
                f"virtual machine {self._spec.id} does not take connections any more", detail=str(error)
            ) from error
        self.visited = True
        return await sockets.streams(client)

    async def part(self, close: Callable[[], Awaitable[object]]) -> None:
        """Close the channel by `close`, and wait until the agent awaits the next host (`PartingMachine`).

        The agent opens its port anew when a host has gone, and QEMU tells of that: of the last
        change in a second, so within a second. Raises `VmmDied` or `VmmTimeout`.
        """
        self._port_opened.clear()
        await close()
        if not await set_within(self._port_opened, _PART_S):
            raise VmmTimeout(
                f"the agent in virtual machine {self._spec.id} did not notice that the host has gone"
            )
        self.visited = False

    async def pause(self) -> None:
        """Stop the vCPUs. Repeating is harmless. Raises `VmmDied` or `VmmTimeout`."""
        await self._command("stop")
        self._state = MachineState.PAUSED

    async def resume(self) -> None:
        """Let the vCPUs run on. Repeating is harmless. Raises `VmmDied` or `VmmTimeout`."""
        await self._command("cont")
        self._state = MachineState.RUNNING

    def settle(self) -> None:
        """Note that its kernel has measured: its share of processors is as others' (`TimedMachine`)."""
        if self._launched.group is not None:
            self._launched.host.precedence.end(self._launched.group)

    async def timer(self) -> TimerState | None:
        """Tell how far its first processor's timer is (`TimedMachine`)."""
        if self.timer_hz is None:
            return None
        try:
            told = await self._command("human-monitor-command", {"command-line": "info lapic 0"})
        except VmmError:
            return None
        return timer_state(told) if isinstance(told, str) else None

    def take_event(self, name: str, data: Mapping[str, Any]) -> None:
        """Follow what QEMU tells about the vCPUs and the agent's port."""
        if name == "RESUME":
            self._state = MachineState.RUNNING
        elif name == "STOP":
            self._state = MachineState.PAUSED
        elif name == "VSERPORT_CHANGE" and data.get("open") is True:
            self._port_opened.set()

    def _group(self) -> Cgroup | None:
        return self._launched.group

    def _explain_exit(self, code: int) -> str:
        return explain_exit(code)

    async def _explain_stop(self) -> str | None:
        try:
            status = await self._command("query-status")
        except VmmError:
            return None
        return explain_status(str(status.get("status"))) if isinstance(status, dict) else None

    async def _command(self, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        self._require_life()
        return await self.control.execute(name, arguments, timeout_s=_CONTROL_S)


def explain_status(status: str) -> str | None:
    """Return the meaning of an unasked-for `query-status` status; None for one without trouble."""
    return _STATUSES.get(status)


def explain_exit(code: int) -> str:
    """Return what QEMU's exit code means; negative for a signal.

    A guest that panics reboots (`panic=-1`), and with `-no-reboot` QEMU ends then.
    """
    if code == 0:
        return "the guest ended itself, by a reboot or a triple fault, and its VMM with it"
    if code > 0:
        return f"its VMM ended with code {code}"
    return explain_signal("its VMM", -code) or f"its VMM was ended by a signal ({-code})"
