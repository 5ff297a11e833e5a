"""Options of a run, from a call of the library to the program."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from emberbox.config import Settings
from emberbox.errors import InvalidInput
from emberbox.model import Limits, RunOptions
from emberbox.sandbox import Engine
from emberbox.testing.engine import HostEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SHOW = 'echo "$*" "$A" "$B"'


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[HostEngine]:
    async with HostEngine(Settings(data=tmp_path)) as started:
        yield started


async def test_what_a_sandbox_was_opened_with_holds_for_its_scripts(engine: HostEngine) -> None:
    options = RunOptions(args=["one"], env={"A": "a", "B": "b"}, timeout_s=1000, pids=50)
    limits = Limits(timeout_s=9, pids=None, open_files=64)
    async with engine.sandbox("bash", options, limits=limits, pids=60) as sandbox:
        assert (await sandbox.run(SHOW)).stdout == "one a b\n"
        assert (await sandbox.run(SHOW, (), env={"B": "mine"})).stdout == " a mine\n"
        assert (await sandbox.command(["sh", "-c", SHOW])).stdout == "  \n"
        assert sandbox.limits == Limits(timeout_s=1000, pids=60, open_files=64)


async def test_keywords_of_a_run_are_its_options(engine: HostEngine) -> None:
    host = cast("Engine", engine)
    usual = RunOptions(args=["usual"], env={"A": "a"})
    result = await Engine.run(host, SHOW, runtime="bash", options=usual, env={"B": "b"})
    assert result.stdout == "usual  b\n"
    result = await Engine.run(host, SHOW, ["x", "y"], runtime="bash", options=usual, env=None, timeout_s=None)
    assert result.stdout == "x y a \n"
    result = await Engine.run(host, "sleep 3600", runtime="bash", timeout_s=0.3)
    assert result.status == "timed_out"


async def test_mistakes_are_told_before_anything_is_started(engine: HostEngine) -> None:
    with pytest.raises(InvalidInput, match="timeout_s must be above 0"):
        await engine.open_sandbox("bash", timeout_s=-1)
    with pytest.raises(InvalidInput, match="cannot hold NUL"):
        await engine.open_sandbox("bash", RunOptions(), env={"A": "\0"})
    assert engine.started == 0


async def test_a_run_that_loses_its_vm_is_charged_with_the_wait_for_it(tmp_path: Path) -> None:
    async with (
        HostEngine(Settings(data=tmp_path), start_delay_s=1.0) as slow,
        slow.sandbox("bash") as sandbox,
        sandbox.start(["sleep", "3600"]) as process,
    ):
        await sandbox._live.machine.kill()
        result = await process.result()
    assert result.status == "vm_died"
    assert result.metrics.total_ms > result.metrics.boot_ms >= 1000
