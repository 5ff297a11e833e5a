"""What the machines of all drivers share: a process, its state and its end, and what it wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from emberbox.errors import SnapshotFailed, VmmDied
from emberbox.vmm.base import MachineState
from emberbox.vmm.process.process import start_time
from emberbox.vmm.process.spawn import LOG_BYTES, error_log, read_end
from emberbox.vmm.recorded import spec_to_json, write_record

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.tasks import UndoStack
    from emberbox.vmm.base import MachineSpec
    from emberbox.vmm.process.cgroup import Cgroup
    from emberbox.vmm.process.process import VmmProcess


def process_record(driver: str, spec: MachineSpec, pid: int) -> dict[str, Any]:
    """Return JSON-ready values by which a later process finds the VMM `pid` of a machine, and no other."""
    return {"driver": driver, "id": spec.id, "pid": pid, "start_time": start_time(pid) or 0}


class VmmMachine(ABC):
    """A machine that runs in a process of its own: all of a `Machine` but for what takes a word with its VMM.

    `kill` must be called at the end, even after the VMM has ended by itself: it gives back what the machine
    holds on the host.

    Args:
        driver: Name of its driver.
        spec: What it was made from.
        process: The VMM, or the init of its PID namespace.
        pid: Host pid of the VMM itself.
        undo: What undoes it; belongs to the machine from here on.
        memory: The file of its memory, if it is a template; None otherwise.
    """

    def __init__(
        self,
        driver: str,
        spec: MachineSpec,
        process: VmmProcess,
        pid: int,
        undo: UndoStack,
        *,
        memory: Path | None,
    ) -> None:
        self.memory = memory
        self._spec = spec
        self._process = process
        self._record = process_record(driver, spec, pid)
        self._pid = pid
        self._undo = undo
        self._state = MachineState.STARTING
        self._ending = False

    @property
    def spec(self) -> MachineSpec:
        """What it was made from."""
        return self._spec

    @property
    def pid(self) -> int:
        """Host pid of the VMM process itself."""
        return self._pid

    async def kill(self) -> None:
        """End the VMM process, wait until it is gone and give back all that it held.

        Repeating is harmless; finishes even when cancelled.
        """
        self._ending = True
        if not self._process.ended:
            self._process.killed = True
        await self._undo.close()

    async def wait(self) -> int:
        """Wait for the VMM process to end; returns its exit code (negative: a signal; 255: adopted)."""
        return await self._process.wait()

    def poll(self) -> MachineState:
        """Tell the state without blocking."""
        if self._process.ended:
            return MachineState.KILLED if self._process.killed else MachineState.EXITED
        return self._state

    def state(self) -> dict[str, Any]:
        """JSON-ready values from which the driver's `adopt` finds the machine again."""
        return {
            **self._record,
            "run_dir": str(self._spec.run_dir),
            "memory": None if self.memory is None else str(self.memory),
            "spec": spec_to_json(self._spec),
        }

    def console(self) -> str:
        """What the guest printed so far; bytes that are not text are replaced."""
        return read_end(self._spec.console_log, self._spec.console_bytes)

    def vmm_log(self) -> str:
        """The end of what the VMM logged (by `vmm.log_level`) and wrote to its standard error so far."""
        return read_end(error_log(self._spec.run_dir), LOG_BYTES)

    async def trouble(self) -> str | None:
        """Tell how the VMM ended, or why it stopped the vCPUs by itself; None for neither. Never raises."""
        if self._process.ended:
            return self._explain_exit(await self._process.wait())
        return await self._explain_stop()

    def overran(self) -> bool:
        """Tell whether its VMM came to its control group's bound of memory (`BoundedMachine`)."""
        group = self._group()
        return group is not None and group.reached_bound()

    def running(self, state: MachineState = MachineState.RUNNING) -> None:
        """Note the guest's state, and write the record by which it is found again. Raises `OSError`."""
        self._state = state
        write_record(self._spec.run_dir, self.state())

    def template_memory(self) -> Path:
        """Return the file of its memory. Raises `SnapshotFailed` for a machine that is no template."""
        if self.memory is None:
            name = f"virtual machine {self._spec.id}"
            raise SnapshotFailed(f"{name} was not started as a template, so it cannot be frozen")
        return self.memory

    def _require_life(self) -> None:
        """Raise `VmmDied` for a machine that has ended or is being ended."""
        if self._process.ended or self._ending:
            raise VmmDied(f"virtual machine {self._spec.id} has ended")

    def _group(self) -> Cgroup | None:
        """Return the VMM's control group; None where it has none."""
        return None

    @abstractmethod
    def _explain_exit(self, code: int) -> str:
        """Return what the VMM's exit code means; negative for a signal."""

    async def _explain_stop(self) -> str | None:
        """Return why the VMM has stopped the vCPUs by itself; None where it has not, or does not tell."""
        return None
