"""What the machines of all drivers share, on one that is a process of this host."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput, SnapshotFailed, VmmDied
from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec, MachineState
from emberbox.vmm.machine import VmmMachine
from emberbox.vmm.process.process import VmmProcess, start_time
from emberbox.vmm.recorded import RECORD, machine_from_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Sleeper(VmmMachine):
    """A machine whose VMM sleeps."""

    def _explain_exit(self, code: int) -> str:
        return f"it ended with {code}"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "30"]) as process:
        yield process
        process.kill()


def sleeper(process: subprocess.Popen[bytes], folder: Path, memory: Path | None = None) -> Sleeper:
    spec = MachineSpec(
        id="a-1", run_dir=folder, vcpus=1, memory_mib=256, kernel=folder / "k", initramfs=folder / "i"
    )
    undo = UndoStack()
    watched = VmmProcess(process.pid, process, wrapped=False)
    undo.push(watched.kill)
    return Sleeper("sleep", spec, watched, process.pid, undo, memory=memory)


async def test_a_machine_lives_and_is_killed(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    machine = sleeper(process, tmp_path)
    assert machine.poll() is MachineState.STARTING
    machine.running()
    assert (machine.poll(), await machine.trouble()) == (MachineState.RUNNING, None)
    machine._require_life()
    assert (machine.console(), machine.vmm_log()) == ("", "")
    await machine.kill()
    await machine.kill()
    assert (machine.poll(), await machine.wait()) == (MachineState.KILLED, -9)
    assert await machine.trouble() == "it ended with -9"
    with pytest.raises(VmmDied, match="a-1 has ended"):
        machine._require_life()


async def test_a_machine_that_ends_by_itself_was_not_killed(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    machine = sleeper(process, tmp_path)
    process.terminate()
    await machine.wait()
    assert machine.poll() is MachineState.EXITED
    await machine.kill()
    assert machine.poll() is MachineState.EXITED


async def test_its_record_is_what_another_process_finds_it_by(
    process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    machine = sleeper(process, tmp_path, tmp_path / "memory")
    machine.running(MachineState.PAUSED)
    state = json.loads((tmp_path / RECORD).read_text())
    assert state == machine.state()
    found = machine_from_json("sleep", state)
    assert (found.spec, found.pid, found.start_time) == (machine.spec, process.pid, start_time(process.pid))
    assert found.memory == machine.template_memory() == tmp_path / "memory"
    for wrong in ({}, {**state, "driver": "other"}, {**state, "pid": "x"}, {**state, "spec": None}):
        with pytest.raises(InvalidInput, match="not the state of a machine of the driver sleep"):
            machine_from_json("sleep", wrong)
    await machine.kill()


async def test_only_a_template_has_memory_to_freeze(process: subprocess.Popen[bytes], tmp_path: Path) -> None:
    machine = sleeper(process, tmp_path)
    with pytest.raises(SnapshotFailed, match="was not started as a template"):
        machine.template_memory()
    await machine.kill()
    assert not os.listdir(tmp_path)
