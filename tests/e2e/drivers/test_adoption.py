"""Machines whose starter has died: ended with it, or found again by the next process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import VmmRefused
from emberbox.vmm.base import AdoptingDriver, MachineState
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.leftovers import kill_leftovers
from emberbox.vmm.registry import marks
from tests.e2e.drivers import starter, traces
from tests.e2e.drivers.guests import execute
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.leftovers import find_leftovers
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from typing import Any

    from emberbox.images import Image
    from emberbox.vmm.base import Driver, MachineSpec
    from tests.e2e.drivers.conftest import Template
    from tests.e2e.drivers.kinds import Kind

ROOT = Path(__file__).parents[3]


@pytest.fixture
def adopting(driver: Driver) -> AdoptingDriver:
    if not isinstance(driver, AdoptingDriver):
        pytest.skip(f"{driver.name} adopts no machines")
    return driver


async def _killed_starter(kind: Kind, data: Path, template: Template, spec: MachineSpec) -> dict[str, Any]:
    """Have another process make a machine and die; returns what the machine's record says."""
    pickled = pickle.dumps((template.snapshot, spec)).hex()
    starting = await asyncio.create_subprocess_exec(
        sys.executable, "-m", starter.__name__, kind.name, data, pickled, cwd=ROOT
    )
    assert await asyncio.wait_for(starting.wait(), PATIENCE_S) == -9
    record: dict[str, Any] = json.loads((spec.run_dir / "machine.json").read_text())
    return record


async def test_a_machine_is_adopted_when_its_starter_was_killed(
    kind: Kind, data: Path, adopting: AdoptingDriver, template: Template, image: Image, tmp_path: Path
) -> None:
    spec = machine_spec(image, tmp_path, survive_parent=True)
    state = await _killed_starter(kind, data, template, spec)
    machine = await adopting.adopt(state)
    assert machine is not None
    try:
        assert machine.spec == spec
        assert json.loads(json.dumps(machine.state())) == state
        assert machine.poll() is MachineState.RUNNING
        async with talk(machine) as client:
            await separate(client, machine)
            assert await execute(client, "cat", "/proc/sys/kernel/hostname") == f"{spec.id}\n"
        with contextlib.suppress(VmmRefused):  # by some releases of Firecracker
            await machine.pause()
            assert machine.poll() is MachineState.PAUSED
        await machine.resume()
        for other in (
            {**state, "start_time": state["start_time"] + 1},
            {**state, "pid": os.getpid()},
            {**state, "spec": {**state["spec"], "id": state["id"][:-1]}},
        ):
            assert await adopting.adopt(other) is None, "another process was taken"
        assert machine.poll() is MachineState.RUNNING
    finally:
        await machine.kill()
    assert machine.poll() is MachineState.KILLED
    assert await asyncio.wait_for(machine.wait(), PATIENCE_S) == -9
    assert await adopting.adopt(state) is None, "a machine that is gone"
    assert traces.control_groups(spec.id) == set()


@pytest.mark.parametrize("survive", [False, True])
async def test_a_machine_ends_with_its_starter_unless_it_may_survive(
    kind: Kind, data: Path, template: Template, image: Image, tmp_path: Path, survive: bool
) -> None:
    spec = machine_spec(image, tmp_path, survive_parent=survive)
    pid = (await _killed_starter(kind, data, template, spec))["pid"]
    if not survive:
        await until(lambda: pid not in find_leftovers(marks(), spec.id))
    assert find_leftovers(marks(), spec.id) == ([pid] if survive else [])
    assert await kill_leftovers(marks(), tmp_path) == ([pid] if survive else [])
    await until(lambda: not traces.processes(spec.id))
    groups = Cgroups()
    if groups.prepare():
        assert groups.names(spec.id) == [spec.id], "left by a starter that was killed"
        assert await groups.sweep(spec.id) == [spec.id]
        assert groups.names(spec.id) == []
