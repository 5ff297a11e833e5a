"""Judgements of the host itself, from plain values."""

from __future__ import annotations

import pytest

from emberbox.doctor import Level
from emberbox.doctor.checks import host


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


@pytest.mark.parametrize(
    ("available", "level"), [(100, Level.MISSING), (500, Level.WARNING), (8000, Level.OK)]
)
def test_memory(available: int, level: Level) -> None:
    assert host.check_memory(16_000, available).level is level


def test_cgroups() -> None:
    seen = host.check_cgroups(None, as_root=True, bounded=("cpu", "memory", "pids"))
    assert (seen.level, seen.found) == (Level.OK, "a VMM was in its own (cpu, memory, pids), and bounds hold")
    assert "version 2" in host.check_cgroups(None, as_root=True, bounded=("",)).found
    assert host.check_cgroups(None, as_root=True, bounded=None).level is Level.OK
    unbound = host.check_cgroups(None, as_root=True, bounded=())
    assert (unbound.level, unbound.found) == (Level.WARNING, "a VMM that was looked at is in none")
    without = host.check_cgroups("not writable", as_root=False, bounded=())
    assert (without.level, without.found) == (Level.WARNING, "not writable")
    assert "root" in (without.follows or "")
