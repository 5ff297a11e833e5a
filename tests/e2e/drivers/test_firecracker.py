"""The Firecracker driver on a VMM that fails, hangs or is older says so and leaves nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import SnapshotFailed, VmmDied, VmmNotReady, VmmRefused, VmmStartFailed, VmmTimeout
from emberbox.vmm.base import MachineState, PreparingSnapshot, ReclaimingMachine, ResizableMachine
from emberbox.vmm.driver import DriverOptions
from emberbox.vmm.firecracker import machine as firecracker_machine
from emberbox.vmm.firecracker import snapshot as firecracker_snapshot
from emberbox.vmm.firecracker.driver import FirecrackerDriver
from emberbox.vmm.firecracker.requests import api
from emberbox.vmm.snapshots.files import record
from tests.e2e.drivers import traces
from tests.e2e.drivers.guests import execute
from tests.e2e.drivers.kinds import PEER_VERSION
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S, until
from tests.peers.binaries import make_binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emberbox.images import Image
    from emberbox.vmm.base import Driver, LoadedSnapshot, Machine
    from tests.e2e.drivers.conftest import Template

    Stray = Callable[..., FirecrackerDriver]

pytestmark = pytest.mark.parametrize("kind", ["firecracker-peer"], indirect=True)
KVM = DriverOptions(accelerator="kvm")
LOG_BYTES = 1024 * 1024


@pytest.fixture
def stray(tmp_path: Path, driver: Driver) -> Stray:
    """Makes the driver of a Firecracker that behaves otherwise."""

    def make(**behaviour: Any) -> FirecrackerDriver:
        binaries = make_binaries(tmp_path / "bin", version=PEER_VERSION, behaviour=behaviour)
        return FirecrackerDriver(
            tmp_path / "vmm", KVM, firecracker=binaries.firecracker, jailer=binaries.jailer
        )

    return make


@asynccontextmanager
async def opened(driver: FirecrackerDriver, template: Template) -> AsyncIterator[LoadedSnapshot]:
    """Open the healthy template's snapshot for the stray driver."""
    loaded = await driver.open_snapshot(template.snapshot)
    try:
        yield loaded
    finally:
        await loaded.close()


@asynccontextmanager
async def cloned(
    driver: FirecrackerDriver, template: Template, image: Image, folder: Path
) -> AsyncIterator[Machine]:
    """Clone a machine of the healthy template by the stray driver."""
    async with opened(driver, template) as loaded:
        clone = await loaded.restore(machine_spec(image, folder))
        try:
            yield clone
        finally:
            await clone.kill()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "does not expect"),
        (148, "seccomp"),
        (152, "its configuration was refused"),
        (-9, "SIGKILL"),
        (-6, "SIGABRT"),
    ],
)
async def test_a_vmm_that_ends_as_it_starts_is_explained(
    stray: Stray, image: Image, tmp_path: Path, code: int, words: str
) -> None:
    driver = stray(exit_code=code, when="InstanceStart")
    with pytest.raises(VmmStartFailed, match=words) as caught:
        await driver.start(machine_spec(image, tmp_path))
    assert caught.value.code


async def test_a_vmm_that_ends_as_it_loads_is_explained(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    async with opened(stray(exit_code=150, when="load"), template) as loaded:
        with pytest.raises(SnapshotFailed, match="SIGSEGV"):
            await loaded.restore(machine_spec(image, tmp_path))


async def test_a_clone_of_a_standby_asks_for_its_load_and_nothing_else(
    template: Template, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    exchange = api.FirecrackerApi._exchange

    async def noted(self: api.FirecrackerApi, method: str, path: str, *arguments: Any) -> Any:
        asked.append(f"{method} {path}")
        return await exchange(self, method, path, *arguments)

    assert isinstance(template.loaded, PreparingSnapshot)
    standby = await template.loaded.prepare(machine_spec(image, tmp_path))
    monkeypatch.setattr(api.FirecrackerApi, "_exchange", noted)
    machine = await standby.restore()
    await machine.kill()
    assert asked == ["PUT /snapshot/load"]


@pytest.mark.parametrize(
    "behaviour", [{}, {"when": "load failed", "exit_code": 1}], ids=["answered", "hung up"]
)
async def test_a_load_that_fails_is_told_as_that_also_when_the_process_ends_over_it(
    stray: Stray,
    template: Template,
    image: Image,
    tmp_path: Path,
    behaviour: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no state\n" * 100)
    broken.chmod(0o644)
    async with opened(stray(**behaviour), template) as loaded:
        monkeypatch.setattr(loaded, "_snapshot", replace(template.snapshot, state=broken))
        with pytest.raises(SnapshotFailed, match=r"could not be cloned: .*Invalid magic") as caught:
            await loaded.restore(machine_spec(image, tmp_path))
    assert "damaged" in str(caught.value)


async def test_what_comes_before_the_guests_drivers_waits_for_them_or_says_not_yet(
    driver: Driver, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await driver.start(replace(machine_spec(image, tmp_path), memory_max_mib=512))
    try:
        assert isinstance(machine, ReclaimingMachine)
        assert isinstance(machine, ResizableMachine)
        monkeypatch.setattr(firecracker_machine, "_DRIVEN_S", 0)
        for asked in (machine.reclaim(128), machine.resize_memory(512)):
            with pytest.raises(VmmNotReady, match=r"does not drive its .* yet") as caught:
                await asked
            assert caught.value.retryable
        monkeypatch.setattr(firecracker_machine, "_DRIVEN_S", 500)
        await machine.resize_memory(512)
        await machine.reclaim(128)
    finally:
        await machine.kill()


async def test_a_vmm_that_ends_later_is_told(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    async with cloned(stray(exit_code=148, when={"after_start_s": 3.0}), template, image, tmp_path) as clone:
        assert await asyncio.wait_for(clone.wait(), PATIENCE_S) == 148
        assert clone.poll() is MachineState.EXITED
        with pytest.raises(VmmDied):
            await clone.pause()


@pytest.mark.parametrize("request_line", ["PUT /actions", "PUT /boot-source"])
async def test_an_answer_that_never_comes_has_a_bound(
    stray: Stray, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_line: str
) -> None:
    monkeypatch.setattr(api, "TIMEOUT_S", 0.5)
    with pytest.raises(VmmStartFailed):
        await stray(hang=request_line).start(machine_spec(image, tmp_path))


async def test_an_answer_that_is_not_one(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    with pytest.raises(VmmStartFailed):
        await stray(garbage="PUT /machine-config").start(machine_spec(image, tmp_path))
    async with opened(stray(garbage="PUT /snapshot/load"), template) as loaded:
        with pytest.raises(SnapshotFailed):
            await loaded.restore(machine_spec(image, tmp_path))


async def test_a_cancelled_request_that_hangs_leaves_nothing(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    async with opened(stray(hang="PUT /snapshot/load"), template) as loaded:
        before = traces.look()
        restoring = asyncio.create_task(loaded.restore(machine_spec(image, tmp_path)))
        await asyncio.sleep(1.0)
        restoring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restoring
        assert not await traces.settled(before, within_s=0.1)


async def test_an_older_release_is_asked_for_what_it_knows(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    driver = stray(unknown_fields=["clock_realtime", "vsock_override", "free_page_reporting"])
    async with cloned(driver, template, image, tmp_path) as clone, talk(clone) as client:
        await separate(client, clone)
        assert await execute(client, "echo", "here") == "here\n"
    cold = await driver.start(machine_spec(image, tmp_path))
    await cold.kill()


async def test_a_release_that_is_deaf_after_a_pause_is_not_paused_but_frozen(
    driver: Driver, image: Image, tmp_path: Path
) -> None:
    binaries = make_binaries(tmp_path / "bin", version="1.16.1")
    deaf = FirecrackerDriver(tmp_path / "vmm", KVM, firecracker=binaries.firecracker, jailer=binaries.jailer)
    machine = await deaf.start_template(machine_spec(image, tmp_path), tmp_path / "memory")
    try:
        with pytest.raises(VmmRefused, match="or later"):
            await machine.pause()
        assert machine.poll() is MachineState.RUNNING
        snapshot = await deaf.snapshot(machine, tmp_path / "state")
        assert snapshot.memory.stat().st_size == machine.spec.memory_mib << 20
        with pytest.raises(VmmDied):
            await machine.pause()
    finally:
        await machine.kill()


async def test_a_hand_over_that_is_cancelled_leaves_no_file(
    stray: Stray, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = stray()
    running = threading.Event()

    def slowly(*arguments: Any, **options: Any) -> None:
        running.set()
        time.sleep(0.3)
        record(*arguments, **options)

    monkeypatch.setattr(firecracker_snapshot, "record", slowly)
    machine = await driver.start_template(machine_spec(image, tmp_path), tmp_path / "memory")
    freezing = asyncio.create_task(driver.snapshot(machine, tmp_path / "state"))
    assert await asyncio.to_thread(running.wait, PATIENCE_S)
    for _ in range(2):
        freezing.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await freezing
    await until(
        lambda: not [path.name for path in tmp_path.iterdir() if path.name.startswith(("memory", "state"))]
    )
    assert machine.poll() is not MachineState.RUNNING


async def test_a_vmm_that_was_taken_over_can_make_and_rename_nothing(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    async with cloned(stray(), template, image, tmp_path) as clone:
        (root,) = (clone.spec.run_dir / "jail").glob("*/*/root")
        uid = Path(f"/proc/{clone.pid}").stat().st_uid
        folders = [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
        assert uid != 0
        assert {"run", "out", "dev/net"} < {str(path.relative_to(root)) for path in folders}
        assert [path for path in folders if path.stat().st_uid == uid or path.stat().st_mode & 0o002] == []
        async with talk(clone) as client:
            await separate(client, clone)


async def test_a_guest_whose_agent_is_silent(
    stray: Stray, template: Template, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firecracker_machine, "_RESTORED_S", 1.0)
    async with cloned(stray(vsock_silent=True), template, image, tmp_path) as clone:
        with pytest.raises(VmmTimeout):
            await clone.open_channel()


async def test_a_flood_of_log_lines_is_bounded_and_holds_nobody_up(
    stray: Stray, template: Template, image: Image, tmp_path: Path
) -> None:
    async with cloned(stray(flood_log=True), template, image, tmp_path) as clone:
        async with talk(clone) as client:
            await separate(client, clone)
            await execute(client, "sleep", "1")
        for file in clone.spec.run_dir.iterdir():
            assert not file.is_file() or file.stat().st_size <= LOG_BYTES, file


async def test_a_snapshot_of_another_format_is_refused(template: Template, tmp_path: Path) -> None:
    binaries = make_binaries(tmp_path / "bin", version=PEER_VERSION, snapshot_version="8.0.0")
    driver = FirecrackerDriver(
        tmp_path / "vmm", KVM, firecracker=binaries.firecracker, jailer=binaries.jailer
    )
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await driver.open_snapshot(template.snapshot)
    with pytest.raises(SnapshotFailed, match="build the template anew"):
        await driver.open_snapshot(
            replace(template.snapshot, vmm_version=str((await driver.probe()).version))
        )
