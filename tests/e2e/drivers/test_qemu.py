"""What is QEMU's own way of keeping the contract."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox import Engine
from emberbox.errors import RequirementMissing, SnapshotFailed
from emberbox.guest import ExecRequest, GuestClient
from emberbox.guest.frames import FrameDecoder, FrameType
from emberbox.vmm.base import PartingMachine
from emberbox.vmm.qemu.driver import QemuDriver
from emberbox.vmm.qemu.machine import QemuMachine
from emberbox.vmm.snapshots.files import verify
from tests.e2e.vmm_guests import machine_spec, separate, talk
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox import Settings
    from emberbox.images import Image, ImageStore
    from emberbox.vmm.base import Driver, Machine
    from tests.e2e.drivers.conftest import Template

qemu_only = pytest.mark.parametrize("kind", ["qemu"], indirect=True)


def memory_descriptor(machine: Machine) -> Path:
    links = Path(f"/proc/{machine.pid}/fd").iterdir()
    return next(link for link in links if "emberbox-memory" in str(link.readlink()))


@qemu_only
async def test_the_memory_that_clones_share_is_sealed(
    template: Template, image: Image, tmp_path: Path
) -> None:
    clone = await template.loaded.restore(machine_spec(image, tmp_path))
    try:
        # Even with the rights of root and the VMM's own descriptor.
        writable = os.open(memory_descriptor(clone), os.O_RDWR)
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


@qemu_only
async def test_the_version_names_qemu(driver: Driver) -> None:
    assert str((await driver.probe()).version).startswith("QEMU ")


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


@qemu_only
async def test_a_guest_that_noticed_its_hosts_going_waits_for_the_next(
    driver: Driver, image: Image, tmp_path: Path
) -> None:
    machine = await driver.start(machine_spec(image, tmp_path))
    try:
        assert isinstance(machine, PartingMachine)
        client = GuestClient(*await machine.open_channel())
        await client.hello(timeout_s=PATIENCE_S)
        await machine.part(client.close)
        assert client.closed
        reader, writer = await machine.open_channel()
        try:
            # Nothing was asked: the agent greets whom it has waited for.
            async with asyncio.timeout(PATIENCE_S):
                data = await reader.read(65_536)
            assert next(iter(FrameDecoder().feed(data))).type is FrameType.HELLO
        finally:
            writer.transport.abort()
    finally:
        await machine.kill()


@qemu_only
async def test_a_template_is_frozen_once_its_agent_has_noticed_the_hosts_going(
    settings: Settings, images: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def note(kind: type, name: str) -> None:
        original = getattr(kind, name)

        async def noted(*arguments: Any) -> Any:
            steps.append(f"{name} begins")
            result = await original(*arguments)
            steps.append(f"{name} ends")
            return result

        monkeypatch.setattr(kind, name, noted)

    note(QemuMachine, "part")
    note(QemuDriver, "snapshot")
    async with Engine(settings) as engine:
        template = await engine.template("bash", memory_mib=131)
        assert steps == ["part begins", "part ends", "snapshot begins", "snapshot ends"]
        async with engine.sandbox("bash", memory_mib=131) as sandbox:
            assert (await sandbox.run("echo $((6 * 7))")).stdout == "42\n"
    await asyncio.to_thread(shutil.rmtree, settings.data / "templates" / template.record.key)


@qemu_only
async def test_a_machine_with_a_host_at_its_channel_is_not_frozen(
    template: Template, image: Image, tmp_path: Path
) -> None:
    machine = await template.driver.start_template(machine_spec(image, tmp_path), tmp_path / "memory")
    try:
        async with talk(machine) as client:
            await client.hello(timeout_s=PATIENCE_S)
        with pytest.raises(SnapshotFailed, match="call part"):
            await template.driver.snapshot(machine, tmp_path / "state")
        assert not (tmp_path / "state").exists()
    finally:
        await machine.kill()


@qemu_only
async def test_a_clone_answers_its_host_at_whatever_moment_it_comes(
    template: Template, image: Image, tmp_path: Path
) -> None:
    # The guest hears of its host and has the first requests in the same instant, at a random point
    # of its own work. A clone whose template did not know yet that its host had left fails here in
    # one of eight.
    for number in range(0, 32, 2):
        clone = await template.loaded.restore(machine_spec(image, tmp_path))
        try:
            await asyncio.sleep(number / 1000)
            await clone.pause()
            async with talk(clone) as client:
                pending = client.start_resume(
                    entropy=os.urandom(64), unix_ns=1_800_000_000_000_000_000, hostname="clone"
                )
                process = await client.start(ExecRequest(argv=("true",)))
                await asyncio.sleep(0.02)
                await clone.resume()
                await pending.answer(PATIENCE_S)
                assert (await process.result(timeout_s=PATIENCE_S)).exit_code == 0
        finally:
            await clone.kill()
