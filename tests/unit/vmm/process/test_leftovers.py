"""What an earlier process of ours left is ended, and nothing else."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.process.leftovers import end_marked, kill_leftovers
from emberbox.vmm.process.marks import marked
from emberbox.vmm.process.process import command_line, start_time
from emberbox.vmm.registry import marks
from tests.leftovers import find_leftovers
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MARKS = marks()


async def test_leftovers_are_only_ever_our_own(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    started = start_time(sleeper.pid)
    assert started is not None
    folder = tmp_path / "abc-1"
    folder.mkdir()
    (folder / "machine.json").write_text(f'{{"pid": {sleeper.pid}, "start_time": {started}, "id": "abc-1"}}')
    assert not marked(MARKS, sleeper.pid)
    assert await kill_leftovers(MARKS, tmp_path) == []
    assert await end_marked(MARKS, "abc-") == []
    assert sleeper.poll() is None


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a VMM of ours."""
    program = tmp_path / "qemu-system-fake"
    program.symlink_to("/bin/sh")
    script = "read line"
    command = [str(program), "-c", script, "-name", "guest=emberbox-unit0-1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        _wait_for_its_command_line(process.pid)
        yield process
        process.kill()


def _wait_for_its_command_line(pid: int) -> None:
    """Popen returns a moment before the kernel shows the new command line."""
    deadline = time.monotonic() + PATIENCE_S
    while not command_line(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_leftovers_are_found_by_record_and_by_mark(
    impostor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "unit0-1"
    folder.mkdir()
    started = start_time(impostor.pid)
    assert started is not None
    assert find_leftovers(MARKS, "unit0-") == [impostor.pid]
    record = '{{"pid": {}, "start_time": {}, "id": "unit0-1"}}'
    (folder / "machine.json").write_text(record.format(impostor.pid, started + 1))
    assert await kill_leftovers(MARKS, tmp_path) == [], "another start time is another process"
    (folder / "machine.json").write_text(record.format(impostor.pid, started))
    assert await kill_leftovers(MARKS, tmp_path) == [impostor.pid]
    assert impostor.wait(PATIENCE_S) == -9


async def test_what_confines_a_vmm_is_found_by_its_mark(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.symlink_to("/bin/sh")
    command = [
        str(program),
        "-c",
        "read line",
        "--",
        "/usr/bin/qemu-system-x86_64",
        "-name",
        "guest=emberbox-unit1-1",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            _wait_for_its_command_line(process.pid)
            assert find_leftovers(MARKS, "unit1-") == []
            assert await end_marked(MARKS, "unit1-", whole=True) == []
            assert await end_marked(MARKS, "unit1-") == [process.pid]
            assert process.wait(PATIENCE_S) == -9
        finally:
            process.kill()


JAILED = ["/usr/bin/bwrap", "--", "/opt/jailer", "--id", "unit2-1", "--exec-file", "/fc"]


@pytest.mark.parametrize(
    ("words", "vmm", "ours"),
    [
        (["/usr/bin/qemu-system-x86_64", "-name", "guest=emberbox-unit2-1"], True, True),
        (["/usr/bin/qemu-system-x86_64", "-name", "guest=unit2-1"], False, False),
        (["/usr/bin/qemu-system-x86_64", "--id", "unit2-1"], False, False),
        (["/program/firecracker", "--id", "unit2-1"], True, True),
        (["/program/firecracker", "--id", "unit2-a"], False, False),
        (["/program/firecracker", "--id"], False, False),
        (JAILED, False, True),
        (JAILED[2:], False, True),
        (["/usr/bin/vim", "--id", "unit2-1"], False, False),
        ([], False, False),
    ],
)
def test_a_command_line_tells_whose_it_is(words: list[str], vmm: bool, ours: bool) -> None:
    def known(machine_id: str, *, whole: bool, wrapped: bool) -> bool:
        return any(mark.names(words, machine_id, whole=whole, wrapped=wrapped) for mark in MARKS)

    assert known("unit2-1", whole=True, wrapped=False) is vmm
    assert known("unit2-1", whole=True, wrapped=True) is ours
    assert known("unit2-", whole=False, wrapped=True) is ours
    assert not known("unit2-", whole=True, wrapped=True)
    assert not known("unit3-", whole=False, wrapped=True)


async def test_one_that_is_just_becoming_another_program_is_found(
    impostor: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(1000))

    def in_execve(pid: int) -> list[str]:
        return [] if pid == impostor.pid and next(looks) < 4 else command_line(pid)

    monkeypatch.setattr("emberbox.vmm.process.marks.command_line", in_execve)
    monkeypatch.setattr("emberbox.vmm.process.leftovers.command_line", in_execve, raising=False)
    assert await end_marked(MARKS, "unit0-1", whole=True) == [impostor.pid]
