from __future__ import annotations

import asyncio
import os
import platform
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput, RequirementMissing
from emberbox.vmm.driver import DriverOptions
from emberbox.vmm.firecracker import host
from emberbox.vmm.firecracker.driver import FirecrackerDriver
from emberbox.vmm.firecracker.requests.faults import explain_exit
from emberbox.vmm.kvm.acceleration import Acceleration

if TYPE_CHECKING:
    from pathlib import Path

KVM = DriverOptions(accelerator="kvm")
root = pytest.mark.skipif(os.geteuid() != 0, reason="the driver asks for root before anything else")


def program(path: Path, says: str, code: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\n{says}\nexit {code}\n")
    path.chmod(0o755)
    return path


def firecracker(folder: Path, version: str = "1.16.1") -> Path:
    says = (
        f'case "$1" in --version) echo "Firecracker v{version}"; echo; '
        'echo "exiting successfully";; *) echo v9.0.0;; esac'
    )
    return program(folder / "firecracker", says)


def jailer(folder: Path, version: str = "1.16.1") -> Path:
    return program(folder / "jailer", f'echo "Jailer v{version}"')


def driver(folder: Path, version: str = "1.16.1", jailer_version: str = "1.16.1") -> FirecrackerDriver:
    binary, its_jailer = firecracker(folder, version), jailer(folder, jailer_version)
    return FirecrackerDriver(folder / "vmm", KVM, firecracker=binary, jailer=its_jailer)


@root
async def test_what_a_snapshot_depends_on_is_in_the_version(tmp_path: Path) -> None:
    report = await driver(tmp_path).probe()
    assert report.usable
    assert report.accelerator == "kvm"
    assert report.version is not None
    assert report.version.startswith("Firecracker 1.16.1, snapshot 9.0.0, ")
    assert os.uname().release in report.version


@root
@pytest.mark.parametrize(
    ("version", "jailer_version", "reason"),
    [
        ("1.15.1", "1.15.1", "1.16.1 or newer is needed"),
        ("1.16.0", "1.16.0", "1.16.1 or newer is needed"),
        ("1.16.1", "1.17.0", "of version 1.17.0, but Firecracker of 1.16.1"),
    ],
)
async def test_versions_that_cannot_be_used_are_told(
    tmp_path: Path, version: str, jailer_version: str, reason: str
) -> None:
    report = await driver(tmp_path, version, jailer_version).probe()
    assert not report.usable
    assert reason in report.reason
    assert report.mend == "emberbox setup --vmm firecracker"


@root
@pytest.mark.parametrize("says", ["exit 3", "true", "kill -9 $$", "printf '\\377\\376'"])
async def test_a_binary_that_is_none_is_told(tmp_path: Path, says: str) -> None:
    broken = FirecrackerDriver(
        tmp_path / "vmm", KVM, firecracker=program(tmp_path / "firecracker", says), jailer=jailer(tmp_path)
    )
    report = await broken.probe()
    assert not report.usable
    assert report.mend == "emberbox setup --vmm firecracker"


@root
async def test_kvm_is_proven_by_running_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def emulated(*_: object, **__: object) -> Acceleration:
        return Acceleration("tcg", "software emulation: KVM is itself emulated here")

    monkeypatch.setattr("emberbox.vmm.kvm.acceleration.probe_acceleration", emulated)
    unproven = FirecrackerDriver(tmp_path / "vmm", firecracker=firecracker(tmp_path), jailer=jailer(tmp_path))
    report = await unproven.probe()
    assert not report.usable
    assert report.reason == "Firecracker needs KVM: KVM is itself emulated here"


async def test_without_a_binary_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = await FirecrackerDriver(tmp_path / "vmm", KVM).probe()
    assert not report.usable
    assert report.reason.startswith("firecracker is not installed")
    assert report.mend == "emberbox setup --vmm firecracker"


async def test_the_jailer_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = await driver(tmp_path).probe()
    assert not report.usable
    assert "needs root" in report.reason


def test_binaries_are_found_where_they_were_installed_then_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = tmp_path / "bin"
    on_path.mkdir()
    firecracker(on_path), jailer(on_path)
    monkeypatch.setenv("PATH", str(on_path))
    assert host.find_binaries(tmp_path / "vmm", None, None) == (on_path / "firecracker", on_path / "jailer")
    release = tmp_path / "vmm/firecracker/1.16.1"
    release.mkdir(parents=True)
    firecracker(release), jailer(release)
    assert host.find_binaries(tmp_path / "vmm", None, None) == (release / "firecracker", release / "jailer")
    other = tmp_path / "other"
    other.mkdir()
    assert host.find_binaries(tmp_path / "vmm", firecracker(other), None)[0] == other / "firecracker"
    with pytest.raises(RequirementMissing, match="not a program"):
        host.find_binaries(tmp_path / "vmm", tmp_path / "missing", None)


def test_it_runs_on_kvm_alone(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="use the driver qemu"):
        FirecrackerDriver(tmp_path, DriverOptions(accelerator="tcg"))


def test_every_exit_code_says_what_to_do() -> None:
    texts = {
        code: explain_exit(code, "")
        for code in (0, 1, 2, 148, 149, 150, 151, 152, 153, 154, 156, 157, -9, -11, 77)
    }
    assert len(set(texts.values())) == len(texts)
    assert all(len(text) > 20 for text in texts.values())


async def test_probing_twice_asks_once(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the driver asks for root before anything else")
    one = driver(tmp_path)
    first, second = await asyncio.gather(one.probe(), one.probe())
    assert first == second


@pytest.mark.parametrize(("flag", "name"), [(os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec")])
def test_a_file_system_on_which_no_jail_works_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: int, name: str
) -> None:
    host.check_mount(tmp_path / "vmm")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=flag))
    with pytest.raises(RequirementMissing, match=f"mounted with {name}") as caught:
        host.check_mount(tmp_path / "vmm")
    assert caught.value.mend is not None
    assert f"remount,{name[2:]} " in caught.value.mend


def test_clocks_are_moved_only_where_snapshots_hold_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "current_clocksource"
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(host, "_kernel", lambda: (5, 16))
    assert not host.moves_clocks(source)
    for name, moves in (("tsc\n", True), ("kvm-clock\n", False), ("hpet\n", False)):
        source.write_text(name)
        assert host.moves_clocks(source) is moves, name
    source.write_text("tsc\n")
    monkeypatch.setattr(host, "_kernel", lambda: (5, 10))
    assert not host.moves_clocks(source)
    monkeypatch.setattr(host, "_kernel", lambda: (6, 1))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not host.moves_clocks(source)


@root
async def test_a_host_on_which_no_jail_can_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    report = await driver(tmp_path).probe()
    assert not report.usable
    assert "capability MKNOD" in report.reason
