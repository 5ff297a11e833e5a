"""One numbered folder for each engine; those of dead engines are cleaned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emberbox.errors import RequirementMissing
from emberbox.sandbox.machines.runfolder import RunFolder
from tests.patience import PATIENCE_S


async def _nothing(_: Path) -> list[int]:
    return []


async def test_each_engine_gets_a_number_of_its_own(tmp_path: Path) -> None:
    one, two = await RunFolder.claim(tmp_path, _nothing), await RunFolder.claim(tmp_path, _nothing)
    assert (one.number, two.number) == (0, 1)
    assert one.path.stat().st_mode & 0o777 == 0o700
    one.release()
    three = await RunFolder.claim(tmp_path, _nothing)
    assert three.number == 0
    two.release()
    three.release()
    three.release()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.lock", "1.lock"]


async def test_a_dead_engines_folder_is_cleaned_and_a_living_ones_is_not(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, os; from pathlib import Path\n"
        "from emberbox.sandbox.machines.runfolder import RunFolder\n"
        "folder = asyncio.run(RunFolder.claim(Path(sys.argv[1]), None)); folder.make('m-1')\n"
        "print(folder.number, flush=True)\n"
        "sys.stdin.read() if sys.argv[2] == 'live' else os.kill(os.getpid(), 9)"
    )
    living = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert living.stdout is not None
    assert living.stdout.readline() == b"0\n"
    dead = subprocess.run([sys.executable, "-c", code, tmp_path, "dead"], stdout=subprocess.PIPE, check=False)
    assert dead.stdout == b"1\n"
    killed: list[Path] = []

    async def kill(folder: Path) -> list[int]:
        killed.append(folder)
        return [1]

    ours = await RunFolder.claim(tmp_path, kill)
    assert killed == [tmp_path / "1"]
    assert ours.number == 1
    assert not list(ours.path.iterdir())
    assert (tmp_path / "0/m-1").is_dir()
    living.communicate(b"", timeout=PATIENCE_S)
    ours.release()


async def test_a_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(RequirementMissing, match="set EMBERBOX_DATA"):
        await RunFolder.claim(Path("/proc/emberbox/run"), _nothing)
