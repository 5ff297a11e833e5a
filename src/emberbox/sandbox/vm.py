"""The VM of a sandbox: whether it lives, what it holds, and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from emberbox.errors import EmberboxError, GuestError, GuestGone, SandboxClosed, VmmError
from emberbox.sandbox.files import SandboxFiles, SourceLog
from emberbox.sandbox.outputs import Outputs, read_outputs, reading_bound_s
from emberbox.tasks import TaskKeeper
from emberbox.vmm.base import BoundedMachine
from emberbox.vmm.boots.guest_text import last_lines

if TYPE_CHECKING:
    from emberbox.guest import GuestClient
    from emberbox.model import GuestMetrics, Limits, RunResult
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.vmm.base import MachineState

_log = logging.getLogger(__name__)

CONFIRM_S = 60.0
_CLOSED_S = 10.0
"""How long a VMM whose stream has ended may take to end, so that its exit code can be told."""


class SandboxVm(SandboxFiles):
    """One microVM in use, with its files. `Sandbox` is one that runs programs.

    A VM whose agent fails a bound, breaks the protocol or goes away is ended at once, whatever its
    caller does.

    Args:
        live: The machine.
        track_files: Whether `sources` notes what is done to the files.
        keeper: Ends a VM that is lost; None for a keeper of its own.
    """

    limits: Limits
    """Bounds of a run that names none."""

    def __init__(self, live: LiveMachine, *, track_files: bool, keeper: TaskKeeper | None = None) -> None:
        self._live = live
        self._closed = False
        self._keeper = keeper or TaskKeeper()
        self._loss: asyncio.Task[str] | None = None
        self._own_code: int | None = None
        self._overran = False
        self.sources = SourceLog(kept=track_files)
        live.guest.when_lost(self._lose)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def id(self) -> str:
        """Unique among live sandboxes; also the guest's hostname, behind `ember-`."""
        return self._live.id

    @property
    def pid(self) -> int:
        """Host pid of the VMM process."""
        return self._live.machine.pid

    @property
    def state(self) -> MachineState:
        """What the VM is doing."""
        return self._live.machine.poll()

    @property
    def closed(self) -> bool:
        """Whether the sandbox has ended, or is being ended because its VM was lost."""
        return self._closed or self._loss is not None

    @property
    def guest(self) -> GuestClient:
        """The agent's client, which tells of a lost VM; raises `SandboxClosed` after the end."""
        if self._closed:
            raise SandboxClosed(f"the sandbox {self.id} has ended")
        return self._live.guest

    @property
    def patience_s(self) -> float:
        """How long the agent may take to begin what it is asked for, in seconds; later, the VM is hung."""
        return self._live.patience_s

    async def metrics(self) -> GuestMetrics:
        """Return the guest's own count of its memory, disk, CPU time and processes."""
        return await self.guest.metrics()

    async def outputs(self) -> Outputs:
        """Return the files in the output folder, whatever left them there.

        They are at most 100 files and 64 MiB; the rest is noted. So is what would take longer than
        30 s beyond `limits.timeout_s`, or 120 s.
        A run's `RunResult.left_files` tells whether it is worth asking.

        Raises:
            GuestError: The sandbox is lost.
        """
        return await read_outputs(self, reading_bound_s(self.limits))

    async def with_outputs(self, result: RunResult) -> RunResult:
        """Return a run's result with what lies in the output folder added.

        A sandbox that is lost meanwhile does not take the result with it.
        """
        if not result.left_files:
            return result
        try:
            outputs = await self.outputs()
        except (GuestError, VmmError, SandboxClosed) as error:
            return replace(result, file_notes=(f"the files that it left are lost: {error.message}",))
        return replace(result, files=tuple(outputs.files), file_notes=tuple(outputs.notes))

    async def confirm(self) -> None:
        """Wait until the clone has said that it is no twin; free once it has."""
        await self._live.confirm(CONFIRM_S)

    def _lose(self, error: EmberboxError) -> None:
        if not self._closed:
            self._loss = self._keeper.start(self._end_lost(error), f"lost-{self.id}")

    async def _end_lost(self, error: EmberboxError) -> str:
        reason = await self._reason(error)
        _log.warning(
            "sandbox %s is ended: %s", self.id, reason, extra={"action": "sandbox.lost", "machine": self.id}
        )
        await self._live.undo.close()
        return reason

    async def death_reason(self, error: EmberboxError) -> str:
        """Say why the VM is gone, as far as it can be told."""
        if self._loss is None:
            return await self._reason(error)
        return await asyncio.shield(self._loss)

    async def _reason(self, error: EmberboxError) -> str:
        code = await self._end_code(error)
        if code is None:
            return f"lost the agent in the VM: {error.message}"
        console = last_lines(self._live.machine.console(), 1, 200)
        last = f"; its console ends in: {console[0]}" if console else ""
        return f"the VM ended under the run (exit code {code}, machine {self.id}){last}"

    async def killed_from_outside(self, error: EmberboxError) -> bool:
        """Return whether somebody on the host killed the VMM, after `error` told that the VM is lost.

        That is SIGKILL, which this process did not send and no guest can: it comes from the kernel, for want
        of the host's memory, or from an operator. A VMM that came to the bound of its own memory is not
        meant: what its guest does leads there.
        """
        await self.death_reason(error)
        return self._own_code == -signal.SIGKILL and not self._overran

    async def _end_code(self, error: EmberboxError) -> int | None:
        """Return the exit code of a VMM that ended by itself, or is about to; None where it goes on.

        Notes whether it came to its own bound of memory, which can be told until the sandbox is closed.
        """
        if self._own_code is None and not self._closed:
            machine = self._live.machine
            try:
                # An agent that is silent, or babbles, has a VM that goes on: there is no code to wait for.
                async with asyncio.timeout(_CLOSED_S if isinstance(error, GuestGone) else 0):
                    self._own_code = await machine.wait()
            except TimeoutError:
                return None
            self._overran = isinstance(machine, BoundedMachine) and machine.overran()
        return self._own_code

    async def kill(self) -> None:
        """End the sandbox at once. Repeating is harmless; finishes even when cancelled."""
        await self.close()

    async def close(self) -> None:
        """End the sandbox and give back all that it held.

        Repeating is harmless; finishes even when cancelled.
        """
        self._closed = True
        await self._live.undo.close()
        if self._loss is not None:
            await asyncio.wait((self._loss,))
