"""The program by which a jailed Firecracker is entered, run for real."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.firecracker.jailer.entry import FAILED, PROGRAM, entry_program, write_entry

if TYPE_CHECKING:
    from pathlib import Path

RUN_S = 180
_CHROOT = """
import os, sys
os.chroot(sys.argv[1]); os.chdir("/"); os.setgroups([]); os.setgid(79000); os.setuid(79000)
os.execve("/firecracker", ["cat", "/status", "more"], {"ONE": "1"})
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root")


def jail(folder: Path) -> Path:
    """A root with the program, and in place of Firecracker what tells how it was started."""
    write_entry(folder)
    (folder / "program").mkdir()
    folder.chmod(0o755)
    return folder


def run(root: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-c", _CHROOT, str(root)]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=False)


@needs_root
def test_it_leaves_no_capability_in_any_set(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("there is no static program at hand: busybox")
    rights = (
        "setpriv",
        "--inh-caps=-all,+setuid,+setgid,+sys_chroot,+sys_admin",
        "--",
        "setpriv",
        "--bounding-set=-all",
        "--",
    )
    own = (*rights, "unshare", "--mount", "--propagation", "private")
    tried = subprocess.run([*own, "true"], capture_output=True, text=True, timeout=RUN_S, check=False)
    if tried.returncode:
        pytest.skip(f"this root has not the rights of root: {tried.stderr.strip()}")
    root = jail(tmp_path)
    shutil.copy(busybox, root / PROGRAM.lstrip("/"))
    (root / "proc").mkdir()
    program = _CHROOT.replace("/status", "/proc/self/status")
    inside = f"mount -t proc proc {root}/proc && exec {sys.executable} -c '{program}' {root}"
    held = subprocess.run(
        [*own, "sh", "-c", inside],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    sets = {
        line.partition(":")[0]: int(line.partition(":")[2], 16)
        for line in held.stdout.splitlines()
        if line.startswith("Cap")
    }
    assert sets == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0), held


@needs_root
def test_it_says_by_its_exit_code_that_it_cannot_become_firecracker(tmp_path: Path) -> None:
    assert run(jail(tmp_path)).returncode == FAILED


def test_it_is_written_once_and_mended(tmp_path: Path) -> None:
    path = write_entry(tmp_path / "entry")
    before = path.stat()
    assert write_entry(tmp_path / "entry").stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o755
    path.write_bytes(b"another")
    assert write_entry(tmp_path / "entry").read_bytes() == entry_program(platform.machine())
    assert [entry.name for entry in (tmp_path / "entry").iterdir()] == ["firecracker"]


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_it_is_a_program_for_the_machine_and_names_its_end(machine: str, number: int) -> None:
    program = entry_program(machine)
    assert program[:4] == b"\x7fELF"
    assert struct.unpack_from("<H", program, 18) == (number,)
    assert program.endswith(PROGRAM.encode() + b"\0")


def test_on_aarch64_its_addresses_are_those_of_its_data() -> None:
    program = entry_program("aarch64")
    words = struct.unpack_from("<15I", program, 120)
    for place, offset in ((1, 0), (2, 8), (9, 32)):
        word = words[place]
        distance = (word >> 5 & 0x7FFFF) << 2 | word >> 29 & 3
        assert 120 + place * 4 + distance == 120 + 60 + offset


def test_there_is_none_for_other_machines() -> None:
    with pytest.raises(RequirementMissing, match="riscv64"):
        entry_program("riscv64")
