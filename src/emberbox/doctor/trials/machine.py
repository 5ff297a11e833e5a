"""Starts one VM as a run would, waits for its guest's first instructions, looks at its walls, and ends it."""

from __future__ import annotations

import asyncio
import platform
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor.finding import problem_of
from emberbox.doctor.trials.kernel import WORD, kernel_image
from emberbox.doctor.trials.walls import Walls, look_at
from emberbox.errors import EmberboxError
from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec, MachineState
from emberbox.vmm.registry import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import Driver, Machine

TRIAL_S = 30.0
"""How long the whole trial may take, in seconds; where nothing is wrong it takes well below one."""
CONSOLE_BYTES = 4096
"""Bound of the console's log, which the guest overruns at once."""
_MEMORY_MIB = 64
_LOOK_S = 0.01
_INITRAMFS_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTrial:
    """What became of a VM that was started to see whether it runs.

    Args:
        problem: Why no instruction of its guest was seen to run; None when one was.
        mend: The command that mends that; None when there is none.
        ran_ms: From the start of the VMM to the guest's first output; None when there was none.
        walls: What it was shut in by; None when it did not run.
        console_bytes: What was kept of the console.
    """

    problem: str | None = None
    mend: str | None = None
    ran_ms: float | None = None
    walls: Walls | None = None
    console_bytes: int = 0


async def try_machine(driver: Driver, data: Path, *, timeout_s: float = TRIAL_S) -> MachineTrial:
    """Start a VM in full confinement with a kernel of a few instructions, and end it.

    Leaves nothing; never raises for the host.

    Args:
        driver: The one that runs would use.
        data: The data folder. As an engine does, this takes a number in its folder `run`, and
            cleans up after engines that died.
        timeout_s: When it is given up, in seconds.
    """
    undo = UndoStack()
    try:
        async with asyncio.timeout(timeout_s):
            return await _run(driver, data, undo)
    except TimeoutError:
        return MachineTrial(problem=f"a VM's first instruction did not run within {timeout_s:g} s")
    except (EmberboxError, OSError) as error:
        problem, mend = problem_of(error)
        return MachineTrial(problem=problem, mend=mend)
    finally:
        await undo.close()


async def _run(driver: Driver, data: Path, undo: UndoStack) -> MachineTrial:
    from emberbox.sandbox.machines.runfolder import RunFolder

    folder = await RunFolder.claim(data / "run")
    undo.push_call(folder.release)
    spec = _spec(folder.make(f"{secrets.token_hex(4)}-1"), driver.name)
    begun = time.perf_counter()
    machine = await driver.start(spec)
    undo.push(machine.kill)
    await _first_words(machine)
    ran_ms = (time.perf_counter() - begun) * 1000
    walls = look_at(machine.pid, spec.id)
    await _full_console(machine)
    return MachineTrial(ran_ms=ran_ms, walls=walls, console_bytes=len(machine.console()))


def _spec(run_dir: Path, driver: str) -> MachineSpec:
    kernel, initramfs = run_dir / "kernel", run_dir / "initramfs"
    kernel.write_bytes(kernel_image(platform.machine(), kind_of(driver).serial))
    initramfs.write_bytes(bytes(_INITRAMFS_BYTES))
    return MachineSpec(
        id=run_dir.name,
        run_dir=run_dir,
        vcpus=1,
        memory_mib=_MEMORY_MIB,
        kernel=kernel,
        initramfs=initramfs,
        console_bytes=CONSOLE_BYTES,
    )


async def _first_words(machine: Machine) -> None:
    while WORD * 2 not in machine.console().encode():
        if machine.poll() in (MachineState.EXITED, MachineState.KILLED):
            code = await machine.wait()
            raise OSError(f"the VMM ended with code {code} before its guest ran one instruction")
        await asyncio.sleep(_LOOK_S)


async def _full_console(machine: Machine) -> None:
    """Wait until the guest, which never stops writing, has filled the console's log.

    Then it is given time to write on.
    """
    size = -1
    while size != len(machine.console()):
        size = len(machine.console())
        await asyncio.sleep(5 * _LOOK_S)
