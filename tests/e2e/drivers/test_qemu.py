"""What is QEMU's own way of keeping the contract."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.qemu.driver import QemuDriver
from emberbox.vmm.snapshot_files import verify
from tests.e2e.vmm_guests import machine_spec, separate, talk

if TYPE_CHECKING:
    from emberbox.images import Image
    from emberbox.vmm import Driver, Machine
    from tests.e2e.drivers.conftest import Template

qemu_only = pytest.mark.parametrize("kind", ["qemu"], indirect=True)


def memory_descriptor(machine: Machine) -> Path:
    links = Path(f"/proc/{machine.pid}/fd").iterdir()
    return next(link for link in links if "emberbox-memory" in str(link.readlink()))


@qemu_only
async def test_the_memory_that_clones_share_is_sealed(template: Template, image: Image, tmp_path: Path) -> None:
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
