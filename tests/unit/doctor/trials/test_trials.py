"""What the trials come to on hosts that lack something, and on this one."""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.doctor.trials import building
from emberbox.doctor.trials.group import try_group
from emberbox.doctor.trials.kernel import WORD, kernel_image
from emberbox.doctor.trials.machine import try_machine
from emberbox.doctor.trials.walls import look_at
from emberbox.errors import RequirementMissing, VmmStartFailed
from emberbox.vmm.base import MachineState
from emberbox.vmm.process.cgroup import Cgroup, Cgroups
from emberbox.vmm.registry import kind_of
from tests.patience import PATIENCE_S
from tests.unit.doctor.machines import ScriptedMachine

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import MachineSpec

STATUS = """Name:	qemu
Uid:	790001	790001	790001	790001
CapInh:	0000000000000000
CapPrm:	{capabilities}
CapEff:	0000000000000000
CapBnd:	000001ffffffffff
CapAmb:	0000000000000000
NoNewPrivs:	{gains}
Seccomp:	{seccomp}
"""


class Driver:
    """Starts one scripted machine, or fails as told."""

    name = "qemu"

    def __init__(self, problem: Exception | None = None, **script: Any) -> None:
        self.problem = problem
        self.script = script
        self.machine: ScriptedMachine | None = None

    async def start(self, spec: MachineSpec) -> ScriptedMachine:
        assert spec.kernel.read_bytes() == kernel_image(os.uname().machine, kind_of(self.name).serial)
        if self.problem is not None:
            raise self.problem
        self.machine = ScriptedMachine(spec, **self.script)
        return self.machine


def run_folders(data: Path) -> list[str]:
    return [path.name for path in (data / "run").iterdir() if path.is_dir()]


async def test_a_guest_that_runs(tmp_path: Path) -> None:
    driver = Driver()
    trial = await try_machine(driver, tmp_path)  # type: ignore[arg-type]
    assert trial.problem is None
    assert trial.ran_ms is not None
    assert trial.walls is not None
    assert trial.walls.shared == ("mnt", "pid", "net", "ipc", "uts"), "it is our own process"
    assert trial.console_bytes == 200
    assert driver.machine is not None
    assert driver.machine.killed
    assert run_folders(tmp_path) == []


@pytest.mark.parametrize(
    ("driver", "problem", "mend"),
    [
        (Driver(VmmStartFailed("bwrap: refused\nmore")), "bwrap: refused", None),
        (Driver(RequirementMissing("it lacks a", mend="bring a")), "it lacks a", "bring a"),
        (Driver(PermissionError(13, "Permission denied")), "Permission denied", None),
        (Driver(says=b"", state=MachineState.EXITED), "ended with code 7 before its guest ran", None),
    ],
)
async def test_a_guest_that_does_not_run(
    driver: Driver, problem: str, mend: str | None, tmp_path: Path
) -> None:
    trial = await try_machine(driver, tmp_path)  # type: ignore[arg-type]
    assert problem in (trial.problem or "")
    assert (trial.walls, trial.mend) == (None, mend)
    assert driver.machine is None or driver.machine.killed
    assert run_folders(tmp_path) == []


async def test_a_guest_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    driver = Driver(says=b"SeaBIOS")
    trial = await asyncio.wait_for(try_machine(driver, tmp_path, timeout_s=0.5), PATIENCE_S)  # type: ignore[arg-type]
    assert trial.problem == "a VM's first instruction did not run within 0.5 s"
    assert driver.machine is None or driver.machine.killed
    assert run_folders(tmp_path) == []


async def test_a_data_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    trial = await try_machine(Driver(), tmp_path)  # type: ignore[arg-type]
    assert "cannot be used" in (trial.problem or "")


def test_the_kernel_for_x86() -> None:
    image = kernel_image("x86_64", 0)
    entry, headers = struct.unpack_from("<QQ", image, 24)
    kinds = [struct.unpack_from("<IIQQQQQQ", image, headers + 56 * number) for number in range(2)]
    load, note = kinds
    assert (load[0], note[0]) == (1, 4)
    at = entry - load[4]
    assert image[at : at + 4] == b"\x66\xba\xf8\x03", "mov dx, 0x3f8 in both modes"
    name, length, kind = struct.unpack_from("<III", image, note[2])
    assert (name, length, kind, image[note[2] + 12 : note[2] + 16]) == (4, 8, 18, b"Xen\0")
    assert struct.unpack_from("<Q", image, note[2] + 16) == (entry,)


@pytest.mark.parametrize(("driver", "serial"), [("qemu", 0x0900_0000), ("firecracker", 0x4000_2000)])
def test_the_kernel_for_arm64(driver: str, serial: int) -> None:
    image = kernel_image("aarch64", kind_of(driver).serial)
    assert image[56:60] == b"ARMd"
    words = struct.unpack_from("<7I", image, 64)
    assert ((words[0] >> 5 & 0xFFFF) << 16 | words[1] >> 5 & 0xFFFF) == serial
    assert bytes(words[number] >> 5 & 0xFF for number in (2, 4)) == WORD


def _process(
    proc: Path, *, capabilities: str = "0" * 16, gains: str = "1", seccomp: str = "2", core: str = "0"
) -> None:
    folder = proc / "77"
    (folder / "ns").mkdir(parents=True)
    (proc / "self/ns").mkdir(parents=True)
    for kind in ("mnt", "pid", "net", "ipc", "uts"):
        (folder / "ns" / kind).symlink_to(f"{kind}:[2]")
        (proc / "self/ns" / kind).symlink_to(f"{kind}:[{2 if kind == 'net' else 1}]")
    (folder / "status").write_text(STATUS.format(capabilities=capabilities, gains=gains, seccomp=seccomp))
    (folder / "limits").write_text(
        f"Limit  Soft Limit  Hard Limit  Units\nMax core file size        {core}     0    bytes\n"
    )
    (folder / "cgroup").write_text(
        "4:cpu,cpuacct:/emberbox/ab-1\n3:memory:/emberbox/ab-1\n2:pids:/elsewhere\n0::/\n"
    )


def test_what_is_seen_of_a_process(tmp_path: Path) -> None:
    _process(tmp_path)
    walls = look_at(77, "ab-1", tmp_path)
    assert (walls.uid, walls.shared, walls.core_bytes) == (790_001, ("net",), 0)
    assert (walls.capable, walls.gains, walls.filtered) == (False, False, True)
    assert walls.bounded == ("cpu", "cpuacct", "memory")


def test_holes_are_seen(tmp_path: Path) -> None:
    _process(tmp_path, capabilities="0000000000000001", gains="0", seccomp="0", core="unlimited")
    walls = look_at(77, "cd-1", tmp_path)
    assert (walls.capable, walls.gains, walls.filtered, walls.core_bytes, walls.bounded) == (
        True,
        True,
        False,
        None,
        (),
    )


async def test_a_group_whose_bounds_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of files that takes whatever is written: no process is bounded by it."""

    async def leave(group: Cgroup) -> None:
        """Such a folder is not removed as the kernel's are, with the files in it."""

    monkeypatch.setattr(Cgroup, "remove", leave)
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name).mkdir()
    problem = await try_group(Cgroups(tmp_path))
    assert problem is not None
    assert "does not bound" in problem


async def test_groups_that_cannot_be_made(tmp_path: Path) -> None:
    assert "no control groups" in (await try_group(Cgroups(tmp_path / "none")) or "")


async def test_a_group_on_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    name = secrets.token_hex(4)
    monkeypatch.setattr("secrets.token_hex", lambda _: name)
    groups = Cgroups()
    if not groups.prepare():
        assert await try_group() == groups.reason
        return
    assert await try_group() is None
    assert groups.names(name) == []


async def test_building_on_this_host(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        assert await building.try_building(tmp_path / "not/yet") is None
    assert list(tmp_path.iterdir()) == []


async def test_building_where_files_of_others_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(building, "_AS_OTHERS", "echo chown: not permitted >&2; exit 1")
    monkeypatch.setattr(building, "bound_to_this_process", list)
    monkeypatch.setattr(building, "find_program", lambda name: "/usr/bin/env")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(building, "_HELPER", ())
    assert (
        await building.try_building(tmp_path) == "files of other users cannot be made: chown: not permitted"
    )


async def test_building_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hang(*_: Any, timeout: float, **__: Any) -> None:
        raise subprocess.TimeoutExpired("mmdebstrap", timeout)

    monkeypatch.setattr("subprocess.run", hang)
    assert "timed out" in (await building.try_building(tmp_path) or "")
