"""One numbered folder for each engine; those of dead engines are cleaned."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.sandbox.runfolder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


def _nothing(_: Path) -> int:
    return 0


def test_each_engine_gets_a_number_of_its_own(tmp_path: Path) -> None:
    one, two = RunFolder.claim(tmp_path, _nothing), RunFolder.claim(tmp_path, _nothing)
    assert (one.number, two.number) == (0, 1)
    assert one.path.stat().st_mode & 0o777 == 0o700
    one.release()
    three = RunFolder.claim(tmp_path, _nothing)
    assert three.number == 0
    two.release()
    three.release()
    three.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.lock", "1.lock"]


def test_a_dead_engines_folder_is_cleaned_and_a_living_ones_is_not(tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from emberbox.sandbox.runfolder import RunFolder\n"
        "folder = RunFolder.claim(Path(sys.argv[1]), lambda f: 0); folder.make('m-1'); print(folder.number, flush=True)\n"
        "sys.stdin.read() if sys.argv[2] == 'live' else os.kill(os.getpid(), 9)"
    )
    living = subprocess.Popen([sys.executable, "-c", code, tmp_path, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert living.stdout is not None
    assert living.stdout.readline() == b"0\n"
    dead = subprocess.run([sys.executable, "-c", code, tmp_path, "dead"], stdout=subprocess.PIPE, check=False)
    assert dead.stdout == b"1\n"
    killed: list[Path] = []
    ours = RunFolder.claim(tmp_path, lambda folder: killed.append(folder) or 1)
    assert killed == [tmp_path / "1"]
    assert ours.number == 1
    assert not list(ours.path.iterdir())
    assert (tmp_path / "0/m-1").is_dir()
    living.communicate(b"", timeout=20)
    ours.release()


def test_a_machine_folder_goes_with_its_use(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path, _nothing)
    with folder.machine_folder("m") as path:
        (path / "file").touch()
    assert not path.exists()
    folder.release()


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="needs /proc")
def test_a_folder_that_cannot_be_made_is_told() -> None:
    from pathlib import Path

    with pytest.raises(RequirementMissing, match="set EMBERBOX_DATA"):
        RunFolder.claim(Path("/proc/emberbox/run"), _nothing)
