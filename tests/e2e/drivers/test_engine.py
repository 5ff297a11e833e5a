"""The same programs give the same results, whichever driver is underneath."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Limits, RunStatus
from emberbox.config import PoolSettings
from tests.e2e.drivers import busy, traces
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from emberbox import Settings
    from tests.e2e.drivers.kinds import Kind

ROOT = Path(__file__).parents[3]
JOBS = 20
# Imports of other modules would take the longest.
TWIN = "import os; print(os.urandom(16).hex(), os.getrandom(16).hex(), os.uname().nodename)"


async def test_a_program_runs_in_a_clone_and_from_the_pool(engine: Engine, settings: Settings) -> None:
    code = "import os, sys; print(6 * 7, os.getuid(), sys.stdin.read())"
    result = await engine.run(code, runtime="python", stdin=b"told")
    assert (result.status, result.stdout, result.stderr) == (RunStatus.SUCCEEDED, "42 1000 told\n", "")
    assert result.metrics.source == "clone"
    async with Engine(replace(settings, pool=PoolSettings(maximum=1))) as pooled:
        await pooled.warm_pool("python", 1)
        result = await pooled.run(code, runtime="python", stdin=b"again")
    assert (result.stdout, result.metrics.source) == ("42 1000 again\n", "pool")


async def test_twenty_jobs_of_which_no_two_draw_the_same(engine: Engine) -> None:
    results = await asyncio.gather(*(engine.run(TWIN, runtime="python") for _ in range(JOBS)))
    assert [result.stderr for result in results] == [""] * JOBS
    for drawn in zip(*(result.stdout.split() for result in results), strict=True):
        assert len(set(drawn)) == JOBS, drawn


async def test_files_and_limits(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox:
        await sandbox.write_file("in.txt", b"from the host")
        result = await sandbox.run(
            "open('out.bin', 'w').write(open('in.txt').read() + open('more').read())", files={"more": b"!"}
        )
        assert result.ok, result
        assert await sandbox.read_file("out.bin") == b"from the host!"
        endless = await sandbox.run("while True: pass", limits=Limits(timeout_s=0.5))
        assert endless.status is RunStatus.TIMED_OUT
        greedy = await sandbox.run("x = bytearray(10**9)", limits=Limits(memory_mib=48))
        assert greedy.status is RunStatus.FAILED
        assert (await sandbox.run("print('and on')")).stdout == "and on\n"


async def test_a_cold_boot_with_a_script_drive_gives_the_same(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/hello.py").write_text("print('from the drive')")
    drive = tmp_path / "drive.ext4"
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "tree", drive, "4M"], check=True)
    async with engine.sandbox("python", script_drive=drive, cold=True) as sandbox:
        result = await sandbox.run("import sys; print(sys.argv)", ["x"])
        assert (result.stdout, result.metrics.source) == ("['main.py', 'x']\n", "cold")
        assert (await sandbox.command(["python3", "/mnt/script/hello.py"])).stdout == "from the drive\n"
        assert (await sandbox.command(["touch", "/mnt/script/x"], user="root")).exit_code == 1


def _engines(folders: set[Path]) -> set[str]:
    """Return the names of the engines whose machines have these folders."""
    return {folder.name.rpartition("-")[0] for folder in folders if "-" in folder.name}


@pytest.mark.parametrize("moment_s", [0.01, 0.4])
async def test_what_a_killed_engine_left_is_cleaned_up(
    kind: Kind, engine: Engine, settings: Settings, data: Path, moment_s: float
) -> None:
    before = set((data / "run").glob("*/*"))
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", busy.__name__, kind.name, data, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert killed.stdout is not None
    assert await asyncio.wait_for(killed.stdout.readline(), PATIENCE_S) == b"up\n"
    await until(lambda: _engines(set((data / "run").glob("*/*")) - before))
    names = _engines(set((data / "run").glob("*/*")) - before)
    await asyncio.sleep(moment_s)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    async with Engine(settings) as following:
        await until(lambda: not set((data / "run").glob("*/*")) - before)
        for name in names:
            await until(partial(_has_ended, f"{name}-"))
        assert (await following.run("print('fine')", runtime="python")).stdout == "fine\n"


def _has_ended(start: str) -> bool:
    return not traces.processes(start) | traces.control_groups(start)
