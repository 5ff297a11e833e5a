"""The engine's book of machines: which live, and what is kept of those that ended badly. For operators.

A machine ends badly when it did not come up, when its VMM ended by itself, or when its agent fell
silent or broke the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, GuestGone, NotFound
from emberbox.sandbox.machines.kept import TEXT_BYTES, KeptMachines, MachineEntry
from emberbox.vmm.base import Machine, MachineSpec, MachineState
from emberbox.vmm.boots.guest_text import escaped
from emberbox.vmm.process.spawn import error_log, read_end

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.guest import GuestClient
    from emberbox.tasks import UndoStack

_log = logging.getLogger(__name__)


class Place:
    """One machine's place, with its entry in the book: from before its VMM starts until all is given back.

    Made by `MachineBook.enter`.

    Attributes:
        spec: What the machine is made from.
        undo: Closing it gives the place back; what ends the machine is added on top.
        machine: The machine, once there is one.
        guest: Its agent's client, once there is one.
    """

    def __init__(
        self, book: MachineBook, spec: MachineSpec, undo: UndoStack, *, runtime: str, source: str
    ) -> None:
        self.spec = spec
        self.undo = undo
        self.machine: Machine | None = None
        self.guest: GuestClient | None = None
        self._book = book
        self._runtime = runtime
        self._source = source
        self._started_at = time.time()
        self._reason: str | None = None

    def blame(self, error: BaseException) -> None:
        """Note why the machine did not come up. Whoever gave it up, by cancelling, is nobody's fault."""
        if isinstance(error, (EmberboxError, OSError)):
            self._reason = error.message if isinstance(error, EmberboxError) else str(error)

    def entry(self, *, ended_at: float | None = None) -> MachineEntry:
        """Return how it stands with the machine."""
        state, pid = MachineState.STARTING if ended_at is None else MachineState.EXITED, None
        if ended_at is None and self.machine is not None:
            state = self.machine.poll()
            pid = None if state in (MachineState.EXITED, MachineState.KILLED) else self.machine.pid
        return MachineEntry(
            id=self.spec.id,
            runtime=self._runtime,
            driver=self._book.driver,
            source=self._source,
            vcpus=self.spec.vcpus,
            memory_mib=self.spec.memory_mib,
            state=state,
            started_at=self._started_at,
            pid=pid,
            ended_at=ended_at,
            reason=self._reason,
        )

    def console(self) -> str:
        """Return what the guest printed so far, the end of it."""
        return read_end(self.spec.console_log, self.spec.console_bytes)

    def vmm_log(self) -> str:
        """Return what the VMM logged so far, the end of it."""
        return read_end(error_log(self.spec.run_dir), TEXT_BYTES)

    async def leave(self) -> None:
        """Strike the machine, which has ended, off the book; of one that ended badly, keep what there is.

        Never raises.
        """
        self._book.strike(self.spec.id)
        self._reason = self._reason or await self._end_of_its_own()
        if self._reason is None:
            return
        entry = self.entry(ended_at=time.time())
        _log.warning(
            "machine %s (%s, %s) ended badly: %s",
            entry.id,
            entry.runtime,
            entry.source,
            entry.reason,
            extra={"action": "machine.ended_badly", "machine": entry.id},
        )
        await asyncio.to_thread(self._keep, entry)

    async def _end_of_its_own(self) -> str | None:
        state = MachineState.KILLED if self.machine is None else self.machine.poll()
        if self.machine is not None and state is MachineState.EXITED:
            return await self.machine.trouble() or "its VMM ended by itself"
        failure = None if self.guest is None else self.guest.failure
        # The stream of a machine that was ended on purpose, as a template is by being frozen, ends too.
        on_purpose = isinstance(failure, GuestGone) and state is MachineState.KILLED
        return None if failure is None or on_purpose else failure.message

    def _keep(self, entry: MachineEntry) -> None:
        self._book.kept.add(entry, self.console()[-TEXT_BYTES:], self.vmm_log()[-TEXT_BYTES:])


class MachineBook:
    """All machines of one engine, and those that ended badly of every engine on the same data folder.

    Args:
        kept: What is kept of machines that ended.
        driver: The name of the engine's driver.
    """

    def __init__(self, kept: KeptMachines, driver: str) -> None:
        self.kept = kept
        self.driver = driver
        self._live: dict[str, Place] = {}

    def enter(self, spec: MachineSpec, undo: UndoStack, *, runtime: str, source: str) -> Place:
        """Enter a machine that is about to start; its `Place.leave` must be called once it has ended."""
        place = Place(self, spec, undo, runtime=runtime, source=source)
        self._live[spec.id] = place
        return place

    def strike(self, machine_id: str) -> None:
        """Take a machine out of those that live."""
        self._live.pop(machine_id, None)

    async def entries(self) -> list[MachineEntry]:
        """Return the machines that live, newest first, then those that ended badly, the latest first."""
        live = sorted(
            (place.entry() for place in self._live.values()),
            key=lambda entry: entry.started_at,
            reverse=True,
        )
        return [*live, *await asyncio.to_thread(self.kept.entries)]

    async def get(self, machine_id: str) -> MachineEntry:
        """Return one machine. Raises `NotFound`."""
        found = next((entry for entry in await self.entries() if entry.id == machine_id), None)
        if found is None:
            raise _unknown()
        return found

    async def console(self, machine_id: str) -> str:
        """Return the end of what a machine's guest printed, escaped, since it is hostile.

        Raises `NotFound`.
        """
        return await self._told(machine_id, Place.console, "console")

    async def vmm_log(self, machine_id: str) -> str:
        """Return the end of what a machine's VMM logged, escaped as well. Raises `NotFound`."""
        return await self._told(machine_id, Place.vmm_log, "log")

    async def _told(self, machine_id: str, of_live: Callable[[Place], str], kept: str) -> str:
        live = self._live.get(machine_id)
        if live is not None:
            return escaped(await asyncio.to_thread(of_live, live))
        found = await asyncio.to_thread(self.kept.text, machine_id, kept)
        if found is None:
            raise _unknown()
        return escaped(found)


def _unknown() -> NotFound:
    return NotFound(
        "there is no such machine: of those that have ended, only the latest that ended badly are kept"
    )
