"""Judgements of VMMs and of what shuts them in, from plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emberbox.doctor import Finding, Level
from emberbox.doctor.checks import machines
from emberbox.doctor.trials.walls import Walls
from emberbox.vmm.base import DriverReport
from emberbox.vmm.kvm.acceleration import Acceleration
from emberbox.vmm.qemu.kind import KIND as QEMU


@pytest.mark.parametrize(
    ("machine", "package"), [("x86_64", "qemu-system-x86"), ("aarch64", "qemu-system-arm")]
)
def test_missing_qemu_names_its_package(machine: str, package: str) -> None:
    ((program, named),) = QEMU.packages(machine).items()
    finding = machines.check_program("qemu", "QEMU", program, named, None, None)
    assert finding.level is Level.MISSING
    assert f"apt-get install -y {package}" in (finding.mend or "")


def _check_qemu(path: str | None, version: str | None, *, needed: bool = True) -> Finding:
    program, package = "qemu-system-x86_64", "qemu-system-x86"
    return machines.check_program("qemu", "QEMU", program, package, path, version, needed=needed)


def test_broken_qemu() -> None:
    finding = _check_qemu("/usr/bin/qemu-system-x86_64", None)
    assert (finding.level, finding.found) == (Level.MISSING, "/usr/bin/qemu-system-x86_64 does not run")


def test_good_programs() -> None:
    assert _check_qemu("/q", "QEMU emulator version 7.2").level is Level.OK
    assert machines.check_bubblewrap("/b", "bubblewrap 0.8").level is Level.OK


def test_missing_bubblewrap() -> None:
    finding = machines.check_bubblewrap(None, None)
    assert finding.level is Level.MISSING
    assert "apt-get install -y bubblewrap" in (finding.mend or "")


def _report(*, usable: bool = True, accelerator: str | None = "tcg") -> DriverReport:
    return DriverReport(
        usable=usable, accelerator=accelerator, version="7.2", reason="because", mend="do this"
    )


def test_acceleration() -> None:
    assert machines.check_acceleration(_report(accelerator="kvm")).level is Level.OK
    emulated = machines.check_acceleration(_report())
    assert (emulated.level, emulated.found, emulated.mend) == (Level.WARNING, "TCG: because", "do this")


def test_acceleration_that_is_set_is_tried_all_the_same() -> None:
    report = _report(accelerator="kvm")
    hardware = machines.check_acceleration(report, Acceleration("kvm", "a test ran in 180 µs"))
    assert (hardware.level, hardware.found) == (Level.OK, "KVM: a test ran in 180 µs")
    emulated = machines.check_acceleration(
        report, Acceleration("tcg", "software emulation: a test took 250 ms")
    )
    assert (emulated.level, emulated.mend) == (Level.MISSING, "export EMBERBOX_VMM_ACCELERATOR=auto")
    assert emulated.found == "KVM, as set by vmm.accelerator; a test took 250 ms"


def test_qemu_that_is_not_needed() -> None:
    finding = _check_qemu(None, None, needed=False)
    assert (finding.level, finding.found) == (Level.OK, "not used: qemu-system-x86_64 is not installed")


GOOD_WALLS = Walls(
    uid=790_000,
    shared=(),
    capable=False,
    gains=False,
    filtered=True,
    core_bytes=0,
    bounded=("cpu", "memory", "pids"),
)


def _confined(
    walls: Walls | None, *, as_root: bool = True, uids: range = range(790_000, 890_000), **others: Any
) -> Finding:
    given: dict[str, Any] = {"setpriv": "/s", "namespaces": None, "sysctls": {}} | others
    return machines.check_confinement(as_root=as_root, walls=walls, uids=uids, **given)


def test_confinement_that_was_seen() -> None:
    assert _confined(GOOD_WALLS).level is Level.OK
    assert "its own" in _confined(GOOD_WALLS).found
    users = _confined(replace(GOOD_WALLS, uid=1000, shared=None), as_root=False, uids=range(1000, 1001))
    assert (users.level, "this user's" in users.found, "not to be seen" in users.found) == (
        Level.OK,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("hole", "words"),
    [
        ({"uid": 0}, "uid 0, not one of 790000 to 889999"),
        ({"shared": ("net", "pid")}, "shares with the host: net, pid"),
        ({"capable": True}, "has rights"),
        ({"gains": True}, "has rights"),
        ({"filtered": False}, "does not filter"),
    ],
)
def test_a_hole_in_the_confinement(hole: dict[str, Any], words: str) -> None:
    finding = _confined(replace(GOOD_WALLS, **hole))
    assert (finding.level, words in finding.found) == (Level.WARNING, True)


def test_confinement_where_no_vmm_ran() -> None:
    assert _confined(None).level is Level.OK
    without = _confined(None, setpriv=None)
    assert (without.level, without.mend) == (Level.MISSING, "apt-get install -y util-linux")
    forbidden = _confined(None, namespaces="bwrap: not permitted")
    assert (forbidden.level, "not permitted" in forbidden.found) == (Level.MISSING, True)


@pytest.mark.parametrize(
    ("sysctls", "mend"),
    [
        (
            {"kernel.apparmor_restrict_unprivileged_userns": 1},
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"kernel.unprivileged_userns_clone": 0}, "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"user.max_user_namespaces": 0}, "sudo sysctl -w user.max_user_namespaces=10000"),
        ({"kernel.unprivileged_userns_clone": 1, "user.max_user_namespaces": 9}, None),
    ],
)
def test_confinement_as_a_user(sysctls: dict[str, int], mend: str | None) -> None:
    assert _confined(None, as_root=False, setpriv=None, sysctls=sysctls).level is Level.OK
    forbidden = _confined(None, as_root=False, namespaces="not permitted", sysctls=sysctls)
    assert (forbidden.level, forbidden.mend) == (Level.MISSING, mend)
    assert "not permitted" in forbidden.found
