"""Each check's outcomes, from plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from emberbox.doctor import Level, host, machines, probes, stock
from emberbox.doctor.finding import install_command
from emberbox.images import Requirement
from emberbox.vmm.base import DriverReport

LZ4 = Requirement("lz4", "lz4", "unpacks the guest's kernel")
MKE2FS = Requirement("mke2fs", "e2fsprogs", "makes root filesystems")


def test_install_command() -> None:
    assert install_command("b", "a", "b", as_root=True) == "apt-get install -y a b"
    assert install_command("a", as_root=False) == "sudo apt-get install -y a"


@pytest.mark.parametrize(
    ("system", "machine", "level"),
    [
        ("Linux", "x86_64", Level.OK),
        ("Linux", "aarch64", Level.OK),
        ("Linux", "riscv64", Level.MISSING),
        ("Darwin", "x86_64", Level.MISSING),
    ],
)
def test_system(system: str, machine: str, level: Level) -> None:
    finding = host.check_system(system, "6.1", machine)
    assert finding.level is level
    assert (finding.follows is None) is (level is Level.OK)


def test_python() -> None:
    assert host.check_python((3, 11, 0)).level is Level.OK
    assert host.check_python((3, 10, 9)).level is Level.MISSING


@pytest.mark.parametrize(("available", "level"), [(100, Level.MISSING), (500, Level.WARNING), (8000, Level.OK)])
def test_memory(available: int, level: Level) -> None:
    assert host.check_memory(16_000, available).level is level


def test_cgroups() -> None:
    assert host.check_cgroups(True, "version 2", as_root=True).level is Level.OK
    without = host.check_cgroups(False, "not writable", as_root=False)
    assert (without.level, without.found) == (Level.WARNING, "not writable")
    assert "root" in (without.follows or "")


@pytest.mark.parametrize(("machine", "package"), [("x86_64", "qemu-system-x86"), ("aarch64", "qemu-system-arm")])
def test_missing_qemu_names_its_package(machine: str, package: str) -> None:
    finding = machines.check_qemu(machine, None, None)
    assert finding.level is Level.MISSING
    assert f"apt-get install -y {package}" in (finding.mend or "")


def test_broken_qemu() -> None:
    finding = machines.check_qemu("x86_64", "/usr/bin/qemu-system-x86_64", None)
    assert (finding.level, finding.found) == (Level.MISSING, "/usr/bin/qemu-system-x86_64 does not run")


def test_good_programs() -> None:
    assert machines.check_qemu("x86_64", "/q", "QEMU emulator version 7.2").level is Level.OK
    assert machines.check_bubblewrap("/b", "bubblewrap 0.8").level is Level.OK


def test_missing_bubblewrap() -> None:
    finding = machines.check_bubblewrap(None, None)
    assert finding.level is Level.MISSING
    assert "apt-get install -y bubblewrap" in (finding.mend or "")


def _report(*, usable: bool = True, accelerator: str | None = "tcg") -> DriverReport:
    return DriverReport(usable=usable, accelerator=accelerator, version="7.2", reason="because", mend="do this")


def test_acceleration() -> None:
    assert machines.check_acceleration(_report(accelerator="kvm")).level is Level.OK
    emulated = machines.check_acceleration(_report())
    assert (emulated.level, emulated.found, emulated.mend) == (Level.WARNING, "TCG: because", "do this")


def test_qemu_that_is_not_needed() -> None:
    finding = machines.check_qemu("x86_64", None, None, needed=False)
    assert (finding.level, finding.found) == (Level.OK, "not used: qemu-system-x86_64 is not installed")


def test_confinement_as_root() -> None:
    assert machines.check_confinement(as_root=True, setpriv="/s", namespaces="no", sysctls={}).level is Level.OK
    without = machines.check_confinement(as_root=True, setpriv=None, namespaces=None, sysctls={})
    assert (without.level, without.mend) == (Level.MISSING, "apt-get install -y util-linux")


@pytest.mark.parametrize(
    ("sysctls", "mend"),
    [
        ({"kernel.apparmor_restrict_unprivileged_userns": 1}, "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"kernel.unprivileged_userns_clone": 0}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"user.max_user_namespaces": 0}, "sudo sysctl -w user.max_user_namespaces=10000"),
        ({"kernel.unprivileged_userns_clone": 1, "user.max_user_namespaces": 9}, None),
    ],
)
def test_confinement_as_a_user(sysctls: dict[str, int], mend: str | None) -> None:
    assert machines.check_confinement(as_root=False, setpriv=None, namespaces=None, sysctls=sysctls).level is Level.OK
    forbidden = machines.check_confinement(as_root=False, setpriv=None, namespaces="not permitted", sysctls=sysctls)
    assert (forbidden.level, forbidden.mend) == (Level.MISSING, mend)
    assert "not permitted" in forbidden.found


@pytest.mark.parametrize(
    ("problem", "free", "kind", "level"),
    [
        (None, 50e9, "ext4", Level.OK),
        (None, 2e9, "ext4", Level.WARNING),
        (None, 1e8, "ext4", Level.MISSING),
        (None, 50e9, "nfs4", Level.WARNING),
        (None, 50e9, "tmpfs", Level.WARNING),
        ("cannot be written: Permission denied", 50e9, "ext4", Level.MISSING),
    ],
)
def test_data_folder(problem: str | None, free: float, kind: str, level: Level) -> None:
    finding = stock.check_data_folder(Path("/data"), problem, int(free), kind)
    assert finding.level is level
    assert (finding.follows is None) is (level is Level.OK)


def test_build_tools() -> None:
    assert stock.check_build_tools([], images_built=False).level is Level.OK
    lacking = stock.check_build_tools([MKE2FS, LZ4], images_built=False)
    assert lacking.level is Level.MISSING
    assert (lacking.mend or "").endswith("apt-get install -y e2fsprogs lz4")
    assert stock.check_build_tools([LZ4], images_built=True).level is Level.WARNING


def test_build_rights() -> None:
    assert stock.check_build_rights(as_root=True, problem="ignored", mend=None).level is Level.OK
    assert stock.check_build_rights(as_root=False, problem=None, mend=None).level is Level.OK
    lacking = stock.check_build_rights(as_root=False, problem="no numbers", mend="usermod …")
    assert (lacking.level, lacking.mend) == (Level.WARNING, "usermod …")


def test_stock() -> None:
    assert stock.check_agent(Path("/a"), 4_000_000).found == "4.0 MB, static"
    assert stock.check_agent(Path("/a"), None).level is Level.MISSING
    assert stock.check_images(["bash", "python"], []).level is Level.OK
    partly = stock.check_images(["bash"], ["go"])
    assert (partly.level, partly.found) == (Level.OK, "built: bash; at their first use: go")
    unbuilt = stock.check_images([], ["go"])
    assert (unbuilt.level, unbuilt.mend) == (Level.WARNING, "emberbox setup")
    assert stock.check_images([], []).level is Level.MISSING
    assert stock.check_templates([], 0).level is Level.WARNING
    assert stock.check_templates(["python", "python"], 3_000_000).found == "2 (python), 3 MB"


def test_file_system_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    inner = tmp_path / "a b"
    inner.mkdir()
    mounts.write_text(
        f"/dev/x / ext4 rw 0 0\nnone {str(inner).replace(' ', chr(92) + '040')} tmpfs rw 0 0\nnone /elsewhere nfs rw 0 0\n"
    )
    assert probes.file_system_of(inner, mounts) == "tmpfs"
    assert probes.file_system_of(tmp_path, mounts) == "ext4"


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    state = probes.folder_state(tmp_path / "not/yet")
    assert state.problem is None
    assert state.free_bytes > 0
    assert not (tmp_path / "not").exists()


def test_versions_of_programs() -> None:
    assert (probes.version_of("/bin/bash") or "").startswith("GNU bash")
    assert probes.version_of("/bin/false") is None
    assert probes.version_of(None) is None
    assert probes.find("no-such-program") is None
