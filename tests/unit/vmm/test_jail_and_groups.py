from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.cgroup import CgroupLimits, Cgroups
from emberbox.vmm.jail import JailFiles, jail_root, libraries
from emberbox.vmm.leftovers import end_marked, find_leftovers, kill_leftovers, marked
from emberbox.vmm.process import VmmProcess, command_line, identify
from emberbox.vmm.requirements import require_programs
from emberbox.vmm.timestamp import tsc_khz

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = JailFiles(programs=(Path("/bin/true"),), data=(Path("/etc/os-release"),))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "30"]) as process:
        yield process
        process.kill()


def test_a_jail_holds_what_runs_and_nothing_else(tmp_path: Path) -> None:
    root = jail_root(tmp_path, FILES)
    found = {path for path in root.rglob("*") if path.is_file() and path.name != "ld.so.cache"}
    wanted = {root / str(path)[1:] for path in (*FILES.programs, *FILES.data, *libraries(FILES.programs))}
    assert found == wanted
    assert os.access(root / "bin/true", os.X_OK)
    assert jail_root(tmp_path, FILES) == root
    assert [path.name for path in tmp_path.iterdir()] == [root.name], "nothing half-made is left"


def test_another_binary_gets_another_jail(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    first = JailFiles(programs=(program,)).key()
    os.utime(program, ns=(1, 1))
    assert JailFiles(programs=(program,)).key() != first


def test_groups_of_version_2(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "emberbox"):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids")
    groups = Cgroups(tmp_path)
    assert groups.prepare()
    group = groups.create("m-1", CgroupLimits(memory_bytes=1000, pids=9, cpus=1.5))
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == "1000"
    assert (folder / "pids.max").read_text() == "9"
    assert (folder / "cpu.max").read_text() == "150000 100000"
    assert groups.names("m-") == ["m-1"]


def test_missing_controllers_are_told(tmp_path: Path) -> None:
    (tmp_path / "emberbox").mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu pids")
    groups = Cgroups(tmp_path)
    assert not groups.prepare()
    assert "memory" in groups.reason
    assert not Cgroups(tmp_path / "absent").prepare()


def test_missing_programs_come_with_their_mend() -> None:
    with pytest.raises(RequirementMissing, match="apt-get install -y qemu-system-x86 bubblewrap"):
        require_programs(["no-such-program-here"])
    assert require_programs(["sh"])["sh"].is_absolute()


async def test_a_process_is_killed_and_told_apart(sleeper: subprocess.Popen[bytes]) -> None:
    process = VmmProcess(sleeper.pid, sleeper, wrapped=False)
    assert identify(sleeper.pid) != identify(os.getpid())
    assert not process.ended
    await process.kill()
    await process.kill()
    assert process.ended
    assert await process.wait() == -9
    with pytest.raises(ProcessLookupError):
        VmmProcess(sleeper.pid, None, wrapped=False)


async def test_leftovers_are_only_ever_our_own(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    folder = tmp_path / "abc-1"
    folder.mkdir()
    (folder / "machine.json").write_text(f'{{"pid": {sleeper.pid}, "start_time": {identity.start_time}, "id": "abc-1"}}')
    assert not marked(sleeper.pid)
    assert await kill_leftovers(tmp_path, "abc-") == []
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
    """Popen returns when execve(2) has let go of the old memory, a moment before the kernel shows the new command line."""
    deadline = time.monotonic() + 10
    while not command_line(pid):
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_leftovers_are_found_by_record_and_by_mark(impostor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "unit0-1"
    folder.mkdir()
    identity = identify(impostor.pid)
    assert identity is not None
    assert find_leftovers("unit0-") == [impostor.pid]
    record = '{{"pid": {}, "start_time": {}, "id": "unit0-1"}}'
    (folder / "machine.json").write_text(record.format(impostor.pid, identity.start_time + 1))
    assert await kill_leftovers(tmp_path) == [], "another start time is another process"
    (folder / "machine.json").write_text(record.format(impostor.pid, identity.start_time))
    assert await kill_leftovers(tmp_path) == [impostor.pid]
    assert impostor.wait(5) == -9


async def test_what_confines_a_vmm_is_found_by_its_mark(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.symlink_to("/bin/sh")
    command = [str(program), "-c", "read line", "--", "/usr/bin/qemu-system-x86_64", "-name", "guest=emberbox-unit1-1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            _wait_for_its_command_line(process.pid)
            assert find_leftovers("unit1-") == []
            assert await end_marked("unit1-", whole=True) == []
            assert await kill_leftovers(tmp_path, "unit1-") == [process.pid]
            assert process.wait(5) == -9
        finally:
            process.kill()


def test_the_clock_s_frequency_is_measured_alike_each_time() -> None:
    first, second = tsc_khz(), tsc_khz()
    if first is None or second is None:
        pytest.skip("no time stamp counter")
    assert first > 100_000
    assert abs(first - second) < first / 1000
