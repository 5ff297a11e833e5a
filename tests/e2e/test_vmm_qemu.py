from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox.errors import RequirementMissing, SnapshotFailed, VmmDied, VmmStartFailed
from emberbox.runtimes import builtin_folder, discover
from emberbox.vmm import AdoptingDriver, MachineState, Snapshot, SnapshotDriver, find_leftovers, kill_leftovers
from emberbox.vmm.cgroup import Cgroups
from emberbox.vmm.qemu.driver import QemuDriver
from emberbox.vmm.snapshot_files import verify
from tests.e2e.vmm_guests import MARK, machine_spec, no_machine_left, separate, talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox.images import Image, ImageStore
    from emberbox.vmm import LoadedSnapshot, Machine


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Stands in for the engines' fixture of that name: these machines have no engine."""
    yield
    no_machine_left()


@pytest.fixture(scope="module")
def driver(data_folder: Path) -> QemuDriver:
    return QemuDriver(data_folder / "vmm")


@pytest.fixture(scope="module")
def image(images: ImageStore) -> Image:
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    found = images.find(python)
    assert found is not None
    return found


@dataclass
class Template:
    snapshot: Snapshot
    loaded: LoadedSnapshot


@pytest_asyncio.fixture(scope="module")
async def template(driver: QemuDriver, image: Image, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Template]:
    folder = tmp_path_factory.mktemp("template")
    machine = await driver.start_template(machine_spec(image, folder), folder / "memory")
    async with talk(machine) as client:
        await client.hello(timeout_s=60)
        await client.prepare(waiting=None, timeout_s=30)
        await client.flush(timeout_s=30)
    snapshot = await driver.snapshot(machine, folder / "state")
    assert machine.poll() is MachineState.KILLED
    loaded = await driver.open_snapshot(snapshot)
    first = await loaded.restore(machine_spec(image, folder))  # the memory is copied meanwhile
    await first.kill()
    yield Template(snapshot, loaded)
    await loaded.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def alive(machine: Machine) -> bool:
    return machine.pid in find_leftovers(MARK)


def test_the_driver_has_its_optional_powers(driver: QemuDriver) -> None:
    assert isinstance(driver, SnapshotDriver)
    assert isinstance(driver, AdoptingDriver)


async def test_probe_tells_an_accelerator_and_why(driver: QemuDriver) -> None:
    report = await driver.probe()
    assert report.usable
    assert report.accelerator in ("kvm", "tcg")
    assert report.version is not None
    assert report.version.startswith("QEMU ")
    assert len(report.reason) > 20


async def test_a_cold_machine_pauses_resumes_and_ends_with_its_guest(driver: QemuDriver, image: Image, tmp_path: Path) -> None:
    machine = await driver.start(machine_spec(image, tmp_path))
    try:
        assert machine.poll() is MachineState.RUNNING
        async with talk(machine) as client:
            await client.hello(timeout_s=60)
            await machine.pause()
            await machine.pause()
            assert machine.poll() is MachineState.PAUSED
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await client.ping(timeout_s=30)
            await machine.resume()
            await machine.resume()
            assert machine.poll() is MachineState.RUNNING
            await client.ping(timeout_s=10)
            await client.shutdown()
        code = await asyncio.wait_for(machine.wait(), 15)
        assert machine.poll() is MachineState.EXITED
        assert code == 0
        with pytest.raises(VmmDied):
            await machine.pause()
        with pytest.raises(VmmDied):
            await machine.open_channel()
    finally:
        await machine.kill()
    assert machine.poll() is MachineState.EXITED, "ending by itself stays told after kill"


async def test_three_clones_of_one_template_live_side_by_side(template: Template, image: Image, tmp_path: Path) -> None:
    before = descriptors()
    clones = await asyncio.gather(*(template.loaded.restore(machine_spec(image, tmp_path)) for _ in range(3)))
    try:
        assert len({clone.pid for clone in clones}) == 3
        for clone in clones:
            assert clone.poll() is MachineState.RUNNING
            async with talk(clone) as client:
                await separate(client, clone)
                await client.ping(timeout_s=10)
    finally:
        await asyncio.gather(*(clone.kill() for clone in clones))
    assert [clone.poll() for clone in clones] == [MachineState.KILLED] * 3
    assert [await clone.wait() for clone in clones] == [-9] * 3
    assert not any(alive(clone) for clone in clones)
    assert descriptors() == before


def memory_descriptor(machine: Machine) -> Path:
    links = Path(f"/proc/{machine.pid}/fd").iterdir()
    return next(link for link in links if "emberbox-memory" in str(link.readlink()))


async def test_a_clone_never_changes_the_template(driver: QemuDriver, template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    try:
        memory = memory_descriptor(clone)
        # Even with the rights of root and the VMM's own descriptor.
        writable = os.open(memory, os.O_RDWR)
        try:
            with pytest.raises(PermissionError):
                os.pwrite(writable, b"changed", 0)
        finally:
            os.close(writable)
        async with talk(clone) as client:
            await separate(client, clone)
    finally:
        await clone.kill()
    await asyncio.to_thread(verify, template.snapshot)


async def test_closing_a_snapshot_leaves_its_clones_alive(
    driver: QemuDriver, template: Template, image: Image, tmp_path: Path
) -> None:
    loaded = await driver.open_snapshot(template.snapshot)
    clone = await loaded.restore(machine_spec(image, tmp_path))
    try:
        await loaded.close()
        await loaded.close()
        async with talk(clone) as client:
            await separate(client, clone)
        with pytest.raises(SnapshotFailed):
            await loaded.restore(clone.spec)
    finally:
        await clone.kill()


async def test_a_changed_snapshot_is_refused(driver: QemuDriver, template: Template, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copyfile(template.snapshot.state, state)
    shutil.copyfile(f"{template.snapshot.state}.json", f"{state}.json")
    copied = replace(template.snapshot, state=state)
    await (await driver.open_snapshot(copied)).close()
    damaged = bytearray(state.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    state.write_bytes(damaged)
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await driver.open_snapshot(copied)
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await driver.open_snapshot(replace(template.snapshot, vmm_version="QEMU 1.0"))


async def test_a_clone_of_another_size_is_refused(template: Template, image: Image, tmp_path: Path) -> None:
    spec = replace(machine_spec(image, tmp_path), memory_mib=512)
    with pytest.raises(SnapshotFailed, match="template's memory"):
        await template.loaded.restore(spec)


async def test_only_a_template_can_be_frozen(driver: QemuDriver, template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    with pytest.raises(SnapshotFailed, match="not started as a template"):
        await driver.snapshot(clone, tmp_path / "state")
    assert clone.poll() is MachineState.KILLED
    assert not (tmp_path / "state").exists()


async def test_cancelled_restores_leave_nothing(template: Template, image: Image, tmp_path: Path) -> None:
    before = descriptors()
    for delay_ms in range(0, 40, 4):
        spec = machine_spec(image, tmp_path)
        restoring = asyncio.create_task(template.loaded.restore(spec))
        await asyncio.sleep(delay_ms / 1000)
        restoring.cancel()
        try:
            machine = await restoring
        except asyncio.CancelledError:
            pass
        else:
            await machine.kill()
    assert find_leftovers(MARK) == []
    assert descriptors() == before
    groups = Cgroups()
    if groups.prepare():
        assert groups.names(MARK) == []


async def test_kill_finishes_though_cancelled(template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    killing = asyncio.create_task(clone.kill())
    await asyncio.sleep(0)
    killing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killing
    assert clone.poll() is MachineState.KILLED
    assert not alive(clone)
    await clone.kill()


async def test_a_start_that_fails_says_why_and_leaves_nothing(driver: QemuDriver, image: Image, tmp_path: Path) -> None:
    broken = tmp_path / "kernel"
    broken.write_bytes(b"not a kernel" * 1000)
    before = descriptors()
    with pytest.raises(VmmStartFailed) as caught:
        await driver.start(replace(machine_spec(image, tmp_path), kernel=broken))
    assert caught.value.detail
    memory = tmp_path / "memory"
    with pytest.raises(VmmStartFailed):
        await driver.start_template(replace(machine_spec(image, tmp_path), kernel=broken), memory)
    with pytest.raises(VmmStartFailed, match="No such file"):
        await driver.start(replace(machine_spec(image, tmp_path), kernel=tmp_path / "missing"))
    assert not memory.exists()
    assert find_leftovers(MARK) == []
    assert descriptors() == before


async def test_missing_programs_are_named_with_the_command_that_brings_them(
    monkeypatch: pytest.MonkeyPatch, image: Image, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    absent = QemuDriver(tmp_path / "vmm")
    report = await absent.probe()
    assert not report.usable
    assert report.mend is not None
    assert report.mend.startswith("apt-get install")
    with pytest.raises(RequirementMissing, match="bwrap"):
        await absent.start(machine_spec(image, tmp_path))


async def test_a_run_folder_may_lie_deep(template: Template, image: Image, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    clone = await template.loaded.restore(machine_spec(image, deep))
    try:
        assert len(str(clone.spec.channel_socket)) > 108
        async with talk(clone) as client:
            await separate(client, clone)
    finally:
        await clone.kill()


ADOPTER = """
import asyncio, json, sys
from pathlib import Path
from emberbox.vmm.qemu.driver import QemuDriver

async def main():
    machine = await QemuDriver(Path(sys.argv[1])).adopt(json.loads(sys.argv[2]))
    print(machine.poll().value, machine.pid)
    await machine.pause()
    print(machine.poll().value)
    await machine.kill()
    print(machine.poll().value)

asyncio.run(main())
"""


async def test_another_process_adopts_a_machine(
    driver: QemuDriver, template: Template, image: Image, data_folder: Path, tmp_path: Path
) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    try:
        state = json.loads((clone.spec.run_dir / "machine.json").read_text())
        assert state == json.loads(json.dumps(clone.state()))
        # QEMU takes one control connection at a time; a restarted engine has none.
        await clone.control.close()  # type: ignore[attr-defined]
        adopting = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ADOPTER, str(data_folder / "vmm"), json.dumps(state), stdout=subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(adopting.communicate(), 30)
        assert output.decode().split() == ["running", str(clone.pid), "paused", "killed"]
        assert await asyncio.wait_for(clone.wait(), 5) == -9
        assert clone.poll() is MachineState.EXITED
        assert await driver.adopt(state) is None, "a machine that is gone"
    finally:
        await clone.kill()


async def test_adoption_never_takes_another_process(driver: QemuDriver, template: Template, image: Image, tmp_path: Path) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    try:
        state = clone.state()
        assert await driver.adopt({**state, "start_time": state["start_time"] + 1}) is None
        assert await driver.adopt({**state, "pid": os.getpid()}) is None
        assert await driver.adopt({**state, "spec": {**state["spec"], "id": state["id"][:-1]}}) is None
        assert clone.poll() is MachineState.RUNNING
    finally:
        await clone.kill()


@pytest.mark.parametrize("survive", [False, True])
async def test_a_machine_ends_with_its_starter_unless_it_may_survive(
    data_folder: Path, template: Template, image: Image, tmp_path: Path, survive: bool
) -> None:
    starter = """
import asyncio, os, pickle, sys
from pathlib import Path
from emberbox.vmm.qemu.driver import QemuDriver

async def main():
    spec = pickle.loads(bytes.fromhex(sys.argv[2]))
    machine = await QemuDriver(Path(sys.argv[1])).start(spec)
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""
    spec = machine_spec(image, tmp_path, survive_parent=survive)
    starting = await asyncio.create_subprocess_exec(
        sys.executable, "-c", starter, str(data_folder / "vmm"), pickle.dumps(spec).hex()
    )
    assert await asyncio.wait_for(starting.wait(), 30) == -9
    pid = json.loads((spec.run_dir / "machine.json").read_text())["pid"]
    for _ in range(0 if survive else 100):
        if pid not in find_leftovers(MARK):
            break
        await asyncio.sleep(0.05)
    assert find_leftovers(spec.id) == ([pid] if survive else [])
    assert await kill_leftovers(tmp_path) == ([pid] if survive else [])
    assert find_leftovers(spec.id) == []
    groups = Cgroups()
    if groups.prepare():
        assert groups.names(spec.id) == [spec.id], "left by a starter that was killed"
        assert await groups.sweep(spec.id) == [spec.id]
        assert groups.names(spec.id) == []
