"""Looks at this host, and at files that stand for it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from emberbox.doctor import probes
from emberbox.images.debian.apt import host_architecture
from emberbox.images.rootfs.initramfs import agent_path
from emberbox.images.tools.requirements import which


def test_file_system_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    inner = tmp_path / "a b"
    inner.mkdir()
    escaped = str(inner).replace(" ", "\\040")
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nnone {escaped} tmpfs rw 0 0\nnone /elsewhere nfs rw 0 0\n")
    assert probes.file_system_of(inner, mounts) == "tmpfs"
    assert probes.file_system_of(tmp_path, mounts) == "ext4"


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    state = probes.folder_state(tmp_path / "not/yet")
    assert state.problem is None
    assert state.free_bytes > 0
    assert not (tmp_path / "not").exists()


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("os.fsync", full)
    assert "quota" in (probes.folder_state(tmp_path).problem or "").lower(), (
        "an empty file can be made on a full disk"
    )


def test_programs_of_guests(tmp_path: Path) -> None:
    machine = os.uname().machine
    agent = agent_path(host_architecture())
    assert probes.program_problem(agent, machine) is None
    assert probes.program_problem(agent, "riscv64") == "is a program for another processor than riscv64"
    assert probes.program_problem(Path("/bin/bash"), machine) == "needs libraries that no guest has"
    (tmp_path / "text").write_text("#!/bin/sh")
    assert probes.program_problem(tmp_path / "text", machine) == "is no program"
    assert probes.program_problem(tmp_path / "missing", machine) is None


def test_programs_that_run() -> None:
    assert probes.runs("/bin/bash")
    assert not probes.runs("/bin/false")
    assert not probes.runs("/no/such")


def test_versions_of_programs() -> None:
    assert (probes.version_of("/bin/bash") or "").startswith("GNU bash")
    assert probes.version_of("/bin/false") is None
    assert probes.version_of(None) is None
    assert which("no-such-program") is None


@pytest.mark.parametrize(("code", "made"), [("true", True), ("false", False), ("/no/such", None)])
def test_namespaces_of_every_user(code: str, made: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_BECOME", ())
    monkeypatch.setattr(probes, "_MAKE", (code,))
    assert probes.every_user_makes_namespaces() is made
