"""What all drivers share: what they are made with, and finding out once what works on this host."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from emberbox.bounds import UID_BASE
from emberbox.errors import EmberboxError, RequirementMissing
from emberbox.vmm.base import DriverReport, Machine
from emberbox.vmm.process.leftovers import find_machine
from emberbox.vmm.process.users import VmmUsers
from emberbox.vmm.recorded import machine_from_json

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.config import VmmSettings
    from emberbox.tasks import UndoStack
    from emberbox.vmm.guest_kernel import GuestKernel
    from emberbox.vmm.kvm.acceleration import Acceleration
    from emberbox.vmm.process.cgroup import Cgroups
    from emberbox.vmm.process.marks import Mark
    from emberbox.vmm.process.process import VmmProcess
    from emberbox.vmm.recorded import RecordedMachine

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverOptions:
    """What every driver is made with.

    Args:
        accelerator: `kvm` or `tcg`, as far as the driver runs on it, to take it for granted; None to find out
            which works.
        uid_base: First of the `UID_COUNT` uids that belong to VMMs, when we are root.
        kernel: What all its guests boot; None where that is not known: then no KVM is refused for it.
        kvm_kind: `hardware` or `pvm` to take that for the kind of this host's KVM; `auto` to look.
        log_level: What its VMMs log: `off`, `error`, `warning`, `info`, `debug` or `trace`.
    """

    accelerator: str | None = None
    uid_base: int = UID_BASE
    kernel: GuestKernel | None = None
    kvm_kind: str = "auto"
    log_level: str = "warning"


USUAL = DriverOptions()


def options_of(settings: VmmSettings, kernel: GuestKernel | None) -> DriverOptions:
    """Return the options that the settings ask for; `kernel` as in `DriverOptions`."""
    return DriverOptions(
        accelerator=None if settings.accelerator == "auto" else settings.accelerator,
        uid_base=settings.uid_base,
        kernel=kernel,
        kvm_kind=settings.kvm_kind,
        log_level=settings.log_level,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VmmHost:
    """What a driver found out about this host, once.

    Args:
        version: What a snapshot must match.
        cgroups: Where to make groups; None where none can be had.
        options: The driver's.
        users: The numbers that VMMs have; None where they keep ours.
    """

    version: str
    cgroups: Cgroups | None
    options: DriverOptions
    users: VmmUsers | None

    def take_uid(self, machine_id: str, undo: UndoStack) -> int | None:
        """Return a uid, and gid, that no other machine of the host has; None where VMMs keep ours.

        Args:
            machine_id: Whose it will be.
            undo: Gives it back; what ends the machine is to be added on top.

        Raises:
            VmmStartFailed, OSError: There is none.
        """
        if self.users is None:
            return None
        user = self.users.take(machine_id)
        undo.push(user.release)
        return user.uid

    def hold_uid(self, pid: int, machine_id: str, undo: UndoStack) -> int | None:
        """Take over the uid of the VMM `pid`, which another process started; arguments as for `take_uid`."""
        if self.users is None:
            return None
        uid, user = self.users.hold(pid, machine_id)
        if user is not None:
            undo.push(user.release)
        return uid


def users_of(options: DriverOptions, cgroups: Cgroups | None) -> VmmUsers:
    """Return the numbers that a driver's VMMs have, as root. Raises `RequirementMissing`."""
    users = VmmUsers(options.uid_base, cgroups)
    users.prepare()
    return users


_Host = TypeVar("_Host", bound=VmmHost)
_Machine = TypeVar("_Machine", bound=Machine)


class VmmDriver(ABC, Generic[_Host, _Machine]):
    """A driver that looks at its host once, at its first use, and finds its machines again.

    Args:
        folder: `<data>/vmm`, where drivers keep what they prepare and have found out; shared by all engines
            that use the same data folder.
        options: What it is made with.
        confines: Whether its VMMs are shut in.
    """

    name: str
    mark: Mark
    """By which its VMMs are known among the host's processes."""

    def __init__(self, folder: Path, options: DriverOptions, *, confines: bool = True) -> None:
        self._folder = folder
        self._options = options
        self._confines = confines
        self._lock = asyncio.Lock()
        self._found: tuple[_Host, Acceleration] | None = None

    async def probe(self) -> DriverReport:
        """Find out what works here; seconds the first time. Raises nothing for what the host lacks."""
        try:
            host, acceleration = await self._examined()
        except EmberboxError as error:
            mend = error.mend if isinstance(error, RequirementMissing) else None
            return DriverReport(usable=False, reason=error.message, mend=mend)
        reason = acceleration.reason
        if self._confines and host.cgroups is None:
            reason += "; no control groups, so memory is bounded by the guest alone"
        return DriverReport(usable=True, accelerator=acceleration.name, version=host.version, reason=reason)

    async def adopt(self, state: dict[str, Any]) -> _Machine | None:
        """Take over the machine that `state` describes; None when it is gone.

        Raises `VmmDied` or `VmmTimeout` when it does not answer.
        """
        recorded = machine_from_json(self.name, state)
        host = await self._host()
        process = find_machine(self.mark, recorded.pid, recorded.start_time, recorded.spec.id)
        if process is None:
            return None
        try:
            machine = await self._reconnect(host, recorded, process)
        except BaseException:
            process.release()
            raise
        extra = {"action": "vmm.adopt", "machine": recorded.spec.id, "pid": process.pid}
        _log.info("machine adopted", extra=extra)
        return machine

    async def _examined(self) -> tuple[_Host, Acceleration]:
        """Return what was found out about the host: now, where it was not yet. Raises `EmberboxError`."""
        async with self._lock:
            if self._found is None:
                self._found = await self._examine()
            return self._found

    async def _host(self) -> _Host:
        """As `_examined`, without what machines run on."""
        return (await self._examined())[0]

    @abstractmethod
    async def _examine(self) -> tuple[_Host, Acceleration]:
        """Find out what works on this host. Raises `EmberboxError` for the first that is missing."""

    @abstractmethod
    async def _reconnect(self, host: _Host, recorded: RecordedMachine, process: VmmProcess) -> _Machine:
        """Return the recorded machine, whose VMM is `process`, ready for use.

        Raises `VmmError`, and leaves it running.
        """
