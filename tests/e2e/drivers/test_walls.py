"""The walls around a VMM that every driver promises, looked at from outside.

How QEMU keeps them is tested in test_confinement.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.vmm.driver import VmmDriver
from emberbox.vmm.process.cgroup import Cgroups
from tests.e2e.vmm_guests import machine_spec

if TYPE_CHECKING:
    from emberbox.images import Image
    from emberbox.vmm.base import Machine
    from tests.e2e.drivers.kinds import Kind

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a VMM a uid of its own")
HOST_FILES = (
    "etc/passwd",
    "etc/shadow",
    "etc/hostname",
    "root",
    "home",
    "var",
    "srv",
    "tmp",
    "run",
    "sys/kernel",
    "boot",
)
PROGRAMS = ("usr/bin/bash", "bin/sh", "usr/bin/env")
OVERHEAD_MIB = 512


def status(machine: Machine) -> dict[str, str]:
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@as_root
def test_it_is_nobody(clone: Machine) -> None:
    uid = status(clone)["Uid"].split()[0]
    assert UID_BASE < int(uid) < UID_BASE + UID_COUNT
    assert set(status(clone)["Uid"].split()) == {uid}
    assert set(status(clone)["Gid"].split()) == {uid}
    assert status(clone)["Groups"] in ("", uid)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(clone)[name], 16) == 0, name


@as_root
async def test_no_vmm_of_another_data_folder_has_its_user(
    clone: Machine, kind: Kind, image: Image, tmp_path: Path
) -> None:
    uid = int(status(clone)["Uid"].split()[0])
    if kind.prepare is not None:
        kind.prepare(tmp_path)
    other = kind.driver(tmp_path)
    assert isinstance(other, VmmDriver)
    users = (await other._host()).users
    assert users is not None
    users._next = uid - users._first  # which would be the next one that it takes
    machine = await other.start(machine_spec(image, tmp_path))
    try:
        theirs = int(status(machine)["Uid"].split()[0])
        assert UID_BASE < theirs < UID_BASE + UID_COUNT
        assert theirs != uid
        assert users.path(theirs).read_text() == machine.spec.id
    finally:
        await machine.kill()
    assert not users.path(theirs).exists()
    assert users.path(uid).read_text() == clone.spec.id


def test_it_gains_no_rights(clone: Machine, kind: Kind) -> None:
    assert status(clone)["NoNewPrivs"] == "1"
    assert kind.peer or status(clone)["Seccomp"] == "2"


@pytest.mark.parametrize("namespace", ["mnt", "pid", "net", "ipc", "uts"])
def test_its_namespaces_are_its_own(clone: Machine, namespace: str) -> None:
    theirs, ours = (Path(f"/proc/{who}/ns/{namespace}").readlink() for who in (clone.pid, "self"))
    assert theirs != ours


def test_it_sees_no_file_of_the_host(clone: Machine, kind: Kind) -> None:
    seen = Path(f"/proc/{clone.pid}/root")
    names: tuple[str, ...] = HOST_FILES if kind.peer else (*HOST_FILES, *PROGRAMS)
    if kind.peer:  # it sees its own program, which lies in this checkout, wherever that is
        names = tuple(name for name in names if not Path(__file__).resolve().is_relative_to(Path("/", name)))
    # Some folders are there to be empty; what they hold on the host must not be.
    found = [
        name
        for name in names
        if (seen / name).is_file() or ((seen / name).is_dir() and list((seen / name).iterdir()))
    ]
    assert [name for name in found if Path("/", name).exists()] == []


def test_it_has_no_network_but_loopback(clone: Machine) -> None:
    devices = [
        line.split(":")[0].strip() for line in Path(f"/proc/{clone.pid}/net/dev").read_text().splitlines()[2:]
    ]
    assert devices == ["lo"]
    assert len(Path(f"/proc/{clone.pid}/net/route").read_text().splitlines()) <= 1


def test_it_is_bounded_by_its_control_group(clone: Machine) -> None:
    groups = Cgroups()
    if not groups.prepare():
        pytest.skip(groups.reason)
    folders = groups.find(clone.spec.id).folders
    assert groups.names(clone.spec.id) == [clone.spec.id]
    for folder in folders:
        assert str(clone.pid) in (folder / "cgroup.procs").read_text().split(), folder
    names = ("memory.max" if groups.unified else "memory.limit_in_bytes", "pids.max")
    memory, pids = (
        next(int(path.read_text()) for folder in folders if (path := folder / name).exists())
        for name in names
    )
    guest = clone.spec.memory_mib * 1024 * 1024
    assert guest < memory <= guest + OVERHEAD_MIB * 1024 * 1024
    assert pids <= 256
    quota, weight = ("cpu.max", "cpu.weight") if groups.unified else ("cpu.cfs_quota_us", "cpu.shares")
    told = {path.name: path.read_text().split() for folder in folders for path in folder.glob("cpu.*")}
    # Its virtual CPUs, and half a processor for the VMM itself, of a period of 100 ms.
    assert told[quota][0] == str(clone.spec.vcpus * 100_000 + 50_000)
    assert told[weight] == [str(clone.spec.vcpus * (100 if groups.unified else 1024))]


def test_all_machines_together_are_bounded(clone: Machine) -> None:
    groups = Cgroups()
    if not groups.prepare():
        pytest.skip(groups.reason)
    names = ("memory.max" if groups.unified else "memory.limit_in_bytes", "pids.max")
    memory, pids = (
        next(int(path.read_text()) for parent in groups.parents if (path := parent / name).exists())
        for name in names
    )
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory <= total - total * 9 // 100, "a tenth, or nearly, stays the host's"
    assert pids <= int(Path("/proc/sys/kernel/pid_max").read_text()) // 2


def test_its_files_are_bounded(clone: Machine, kind: Kind) -> None:
    lines = Path(f"/proc/{clone.pid}/limits").read_text().splitlines()[1:]
    limits = {line[:25].strip(): line[25:].split()[:2] for line in lines}
    bounds = {"Max open files": 4096, "Max core file size": 0}
    if not kind.peer:  # its guest's memory is a file, for which it raises the bound that its jailer sets
        bounds["Max file size"] = 2 * 1024**3
    for name, most in bounds.items():
        assert all(value.isdecimal() and int(value) <= most for value in limits[name]), (name, limits[name])
