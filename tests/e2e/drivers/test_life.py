"""One machine's life: it boots, talks, pauses, uses its drives, and ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import VmmDied, VmmRefused
from emberbox.vmm.base import Drive, MachineState
from tests.e2e.drivers.guests import execute
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.guest import GuestClient
    from emberbox.images import Image
    from emberbox.vmm.base import Driver, Machine

CONSOLE_BYTES = 16_384
TEXT = "".join(f"{os.urandom(31).hex()}\n" for _ in range(65_536))
"""Four megabytes of lines, none like another."""


async def test_probe_tells_an_accelerator_and_why(driver: Driver) -> None:
    report = await driver.probe()
    assert report.usable
    assert report.accelerator in ("kvm", "tcg")
    assert report.version
    assert len(report.reason) > 5


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the machines' folders, where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="emberbox-test-", dir=memory if memory.is_dir() else None
    ) as folder:
        yield Path(folder)


async def test_a_machine_from_its_boot_to_its_end(
    driver: Driver, image: Image, tmp_path: Path, elsewhere: Path
) -> None:
    """One boot serves all that a machine promises, for booting is what takes long."""
    (elsewhere / "readable").write_text(TEXT)
    (tmp_path / "writable").write_bytes(
        bytes(CONSOLE_BYTES)
    )  # QEMU's longest file is the longer of console and writable drive
    drives = (
        Drive(path=image.rootfs),
        Drive(path=elsewhere / "readable"),
        Drive(path=tmp_path / "writable", read_only=False),
    )
    spec = replace(machine_spec(image, tmp_path, console_bytes=CONSOLE_BYTES), drives=drives)
    machine = await driver.start(spec)
    try:
        assert machine.spec == spec
        assert machine.poll() is MachineState.RUNNING
        async with talk(machine) as client:
            await client.hello(timeout_s=PATIENCE_S)
            await separate(client, machine)
            await _reads_its_drive(client, elsewhere / "readable")
            await _writes_its_drive(client, tmp_path / "writable")
            await _pauses_and_resumes(machine, client)
            await _fills_its_console(machine, client)
            await client.shutdown()
        assert await asyncio.wait_for(machine.wait(), PATIENCE_S) == 0
        assert machine.poll() is MachineState.EXITED
        with pytest.raises(VmmDied):
            await machine.pause()
        with pytest.raises(VmmDied):
            await machine.open_channel()
    finally:
        await machine.kill()
        await machine.kill()
    assert machine.poll() is MachineState.EXITED, "ending by itself stays told after kill"


async def _reads_its_drive(client: GuestClient, file: Path) -> None:
    told = await execute(client, "sha256sum", "/dev/vdb")
    assert told.split()[0] == hashlib.sha256(TEXT.encode()).hexdigest()
    await execute(client, "sh", "-c", "! dd if=/dev/zero of=/dev/vdb count=1 2>&1")
    assert file.read_text() == TEXT


async def _writes_its_drive(client: GuestClient, file: Path) -> None:
    await execute(client, "sh", "-c", "echo written by the guest | dd of=/dev/vdc conv=fsync status=none")
    assert file.read_bytes().startswith(b"written by the guest\n")


async def _pauses_and_resumes(machine: Machine, client: GuestClient) -> None:
    try:
        await machine.pause()
    except VmmRefused:
        assert machine.state()["driver"] == "firecracker", (
            "some releases of Firecracker alone may not be paused"
        )
        await client.ping(timeout_s=PATIENCE_S)
        return
    await machine.pause()
    assert machine.poll() is MachineState.PAUSED
    waiting = asyncio.create_task(client.ping(timeout_s=PATIENCE_S))
    await asyncio.sleep(0.3)
    assert not waiting.done(), "a machine that is paused answers"
    await machine.resume()
    await machine.resume()
    assert machine.poll() is MachineState.RUNNING
    await waiting


async def _fills_its_console(machine: Machine, client: GuestClient) -> None:
    await execute(
        client,
        "dd",
        "if=/dev/vdb",
        "of=/dev/console",
        "bs=4096",
        f"count={4 * CONSOLE_BYTES // 4096}",
        "status=none",
    )
    await until(lambda: len(machine.console()) >= CONSOLE_BYTES // 2)
    assert TEXT.splitlines()[100] in machine.console()
    assert len(machine.console().encode()) <= CONSOLE_BYTES
    assert machine.spec.console_log.stat().st_size <= CONSOLE_BYTES
    await client.ping(timeout_s=PATIENCE_S)  # and the guest goes on
