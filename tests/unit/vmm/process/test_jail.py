"""What a confined VMM sees as `/`."""

from __future__ import annotations

import os
from pathlib import Path

from emberbox.vmm.process.jail import JailFiles, jail_root, libraries

FILES = JailFiles(programs=(Path("/bin/true"),), data=(Path("/etc/os-release"),))


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
