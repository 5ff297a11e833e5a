"""QEMU on the host's KVM, shut in as always, with a firmware in place of a kernel: it runs on every KVM."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.vmm.base import Rates
from emberbox.vmm.kvm.kinds import KvmKind, look_at_kvm
from emberbox.vmm.kvm.node import DEVICE
from emberbox.vmm.qemu import launch as launching
from emberbox.vmm.qemu.snapshot import QemuLoadedSnapshot, save
from tests.conftest import ROOT
from tests.e2e import firmware
from tests.e2e.command import EMBERBOX
from tests.e2e.kvm_machines import WAIT_S, boot, firmware_spec, kvm_host, said, with_firmware
from tests.e2e.vmm_guests import no_machine_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox.vmm.qemu.launch import QemuHost
    from emberbox.vmm.qemu.machine import QemuMachine

pytestmark = [
    pytest.mark.skipif(not os.access(DEVICE, os.R_OK | os.W_OK), reason=f"{DEVICE} cannot be opened here"),
    pytest.mark.timeout(4 * WAIT_S),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes nodes, and acts as another user")
USER, GROUP = 12_345, 23_456


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Stands in for the engines' fixture of that name."""
    yield
    no_machine_left()


@pytest.fixture(autouse=True)
def firmware_for_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "arguments", with_firmware)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the jail is."""
    return tmp_path_factory.mktemp("vmm")


@pytest_asyncio.fixture
async def host(folder: Path) -> QemuHost:
    return await kvm_host(folder)


@pytest_asyncio.fixture
async def machine(host: QemuHost, folder: Path, tmp_path: Path) -> AsyncIterator[QemuMachine]:
    started = await boot(host, firmware_spec(folder, tmp_path))
    yield started
    await started.kill()


def node(folder: Path, mode: int, group: int = 0) -> Path:
    """Make another node of KVM's, with these rights."""
    path = folder / "kvm-node"
    os.mknod(path, stat.S_IFCHR | 0o600, DEVICE.stat().st_rdev)
    os.chown(path, 0, group)
    path.chmod(mode)
    return path


def status(machine: QemuMachine) -> dict[str, str]:
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_a_guest_runs_on_kvm(machine: QemuMachine) -> None:
    assert await said(machine) == "K"
    assert await machine.control.execute("query-kvm", timeout_s=WAIT_S) == {"enabled": True, "present": True}


@as_root
async def test_and_is_shut_in_as_always(machine: QemuMachine) -> None:
    await said(machine)
    now = status(machine)
    assert (now["Seccomp"], now["NoNewPrivs"]) == ("2", "1")
    assert {int(now[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    uid = str(machine._launched.uid)
    assert UID_BASE < int(uid) < UID_BASE + UID_COUNT
    assert set(now["Uid"].split()) == set(now["Gid"].split()) == {uid}
    devices = {path.name for path in Path(f"/proc/{machine.pid}/root/dev").iterdir()}
    assert devices == {"kvm"}, "of the host's devices it sees this one alone"
    for kind in ("mnt", "pid", "net", "ipc", "uts"):
        assert Path(f"/proc/{machine.pid}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()


@as_root
@pytest.mark.parametrize(
    ("mode", "group", "groups"),
    [(0o600, 0, ""), (0o660, GROUP, str(GROUP)), (0o666, 0, "")],
    ids=["own", "group", "all"],
)
async def test_it_gets_at_the_device_whoever_may_use_that(
    mode: int, group: int, groups: str, folder: Path, tmp_path: Path
) -> None:
    host = await kvm_host(folder, node(tmp_path, mode, group))
    machine = await boot(host, firmware_spec(folder, tmp_path))
    try:
        assert await said(machine) == "K"
        assert status(machine)["Groups"] == groups
    finally:
        await machine.kill()


async def test_a_machine_with_more_devices_runs(host: QemuHost, folder: Path, tmp_path: Path) -> None:
    spec = firmware_spec(folder, tmp_path)
    machine = await boot(host, replace(spec, vcpus=2, memory_mib=512, rates=Rates(disk_ops_per_s=1000)))
    try:
        assert await said(machine) == "K"
    finally:
        await machine.kill()


async def test_a_template_is_frozen_and_cloned(host: QemuHost, folder: Path, tmp_path: Path) -> None:
    template = await boot(host, firmware_spec(folder, tmp_path, "letters"), tmp_path / "memory")
    begun = await said(template, 30)
    loaded = await QemuLoadedSnapshot.open(host, await save(host, template, tmp_path / "state"))
    try:
        clones = [await loaded.restore(firmware_spec(folder, tmp_path, "letters")) for _ in range(2)]
        try:
            heard = [await said(clone, 30) for clone in clones]
            assert await clones[0].control.execute("query-kvm", timeout_s=WAIT_S) == {
                "enabled": True,
                "present": True,
            }
        finally:
            await asyncio.gather(*(clone.kill() for clone in clones))
    finally:
        await loaded.close()
    alphabet = firmware.LETTERS.decode() * 8
    assert begun[:30] in alphabet
    for text in heard:
        assert text[:30] in alphabet, "it goes on from the memory of its template"
    assert heard[0][:30] == heard[1][:30]


@pytest.fixture
def users_folder() -> Iterator[Path]:
    """A folder of an ordinary user's."""
    folder = Path(tempfile.mkdtemp(prefix="emberbox-kvm-"))
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


def as_user(folder: Path, device: Path, groups: list[int]) -> dict[str, Any]:
    """Start a machine as an ordinary user in these groups, and return what came of it."""
    command = [
        sys.executable,
        "-m",
        "tests.e2e.kvm_machines",
        str(folder),
        str(device),
        str(USER),
        *map(str, groups),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * WAIT_S,
        check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if "user namespace" in str(found.get("error")):
        pytest.skip(found["error"])
    return found


@as_root
def test_an_ordinary_user_of_the_device_s_group_runs_it(users_folder: Path) -> None:
    device = node(users_folder, 0o660, GROUP)
    assert as_user(users_folder, device, [GROUP]) == {"kvm": {"enabled": True, "present": True}, "said": "K"}


@as_root
def test_an_ordinary_user_of_no_such_group_is_told(users_folder: Path) -> None:
    device = node(users_folder, 0o660, GROUP)
    assert "may not be used by this user" in as_user(users_folder, device, [])["error"]


@pytest.mark.skipif(
    look_at_kvm().kind is not KvmKind.PVM, reason="this host's KVM runs ordinary kernels, or there is none"
)
def test_an_ordinary_kernel_on_pvm_is_told_before_a_boot_is_tried(tmp_path: Path) -> None:
    command = [*EMBERBOX, "run", "-r", "python", "-c", "print(1)"]
    told = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * WAIT_S,
        check=False,
        env={**os.environ, "EMBERBOX_DATA": str(tmp_path / "data"), "EMBERBOX_VMM_ACCELERATOR": "kvm"},
    )
    assert told.returncode == 69
    assert (
        "runs only kernels with PVM's guest part, and Debian's kernel has none: no guest would boot"
        in told.stderr
    )
    assert not (tmp_path / "data/images").exists(), "not even an image was built"
