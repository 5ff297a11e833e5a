"""The compile stage on real VMs, of the tests' own compiled language in the image of bash."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, RunStatus, Sandbox
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.config import Settings
    from emberbox.images import ImageStore
    from emberbox.model import CompileResult, RunResult

LANGUAGE = "shell-compiled"
RUNTIMES = Path(__file__).parents[1] / "runtimes"
LUCKY = '#!compile echo "echo $RANDOM$RANDOM$RANDOM" >> "$2"\n'
"""A source whose program prints another number each time that it is compiled."""


@pytest_asyncio.fixture(scope="module")
async def compiling(
    settings: Settings, images: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Engine]:
    """An engine that knows the language."""
    async with Engine(replace(settings, runtimes=(RUNTIMES,))) as running:
        await running.template(LANGUAGE)
        yield running


@pytest.fixture(scope="module")
def scope(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A scope of this run's own: the data folder, and what was compiled in it, outlives the run."""
    return str(tmp_path_factory.mktemp("scope"))


async def once(engine: Engine, code: str, scope: str) -> tuple[RunResult, CompileResult]:
    """Run in a VM of its own."""
    async with engine.sandbox(LANGUAGE, scope=scope) as sandbox:
        result = await sandbox.run(code)
        assert result.compile is not None
        return result, result.compile


async def test_a_program_is_compiled_and_found_again(compiling: Engine, scope: str) -> None:
    code = f"{LUCKY}#!compile echo warned >&2\ncat main.shc | wc -c; id -u; exit 4\n"
    first, made = await once(compiling, code, scope)
    second, found = await once(compiling, code, scope)
    _, strange = await once(compiling, code, f"{scope}-other")
    assert (first.status, first.exit_code) == (RunStatus.FAILED, 4)
    assert (made.reason, found.reason, strange.reason) == ("compiled", "cached", "compiled")
    assert (second.exit_code, second.stdout, second.stderr) == (4, first.stdout, first.stderr)
    assert first.stdout.splitlines()[1] == "1000"
    assert (made.stderr, found.stderr) == ("warned\n", "warned\n")
    assert made.peak_memory_mib > 1
    assert made.cpu_ms > 0


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        ("if", "failed", 2),
        ("#!compile while :; do :; done", "timed_out", None),
        ("#!compile while :; do sleep 9 & done", "timed_out", None),
        ("#!compile kill -9 $$", "failed", None),
        ("#!compile x=x; while :; do x=$x$x; done", "out_of_memory", None),
        ("#!compile rm $2; mkfifo $2", "failed", 0),
    ],
    ids=["refused", "endless", "breeding", "signal", "memory", "fifo"],
)
async def test_a_compiler_that_fails(
    compiling: Engine, scope: str, code: str, reason: str, exit_code: int | None
) -> None:
    async with compiling.sandbox(LANGUAGE, scope=scope) as sandbox:
        if reason == "timed_out":
            await sandbox.write_file("endless.shc", code.encode())
            told = await sandbox.compile("endless.shc", timeout_s=2)
            assert (told.reason, told.exit_code) == (reason, exit_code)
            assert (await sandbox.command(["sh", "-c", "pgrep -c sleep; true"])).stdout == "0\n"
            return
        result = await sandbox.run(f"{code}\necho ran")
        assert result.compile is not None
        assert (result.status, result.compile.reason, result.compile.exit_code) == (
            RunStatus.COMPILE_FAILED,
            reason,
            exit_code,
        )
        assert (result.exit_code, result.stdout) == (None, "")
        assert (await sandbox.run("echo fine")).stdout == "fine\n"


@pytest.mark.parametrize(
    "code",
    [
        "#!compile ln -sf /etc/hostname $2",
        "#!compile truncate -s 70M $2",
        "#!compile rm $2; mkdir $2; ln -s /etc $2/out",
    ],
    ids=["link", "too large", "leads out"],
)
async def test_hostile_output_is_made_anew_each_time(compiling: Engine, scope: str, code: str) -> None:
    reasons = [(await once(compiling, f"{code}\n", scope))[1].reason for _ in range(2)]
    assert reasons == ["compiled", "compiled"]


async def test_only_the_first_run_of_a_vm_knows_the_cache(compiling: Engine, scope: str) -> None:
    known, _ = await once(compiling, LUCKY, scope)
    async with compiling.sandbox(LANGUAGE, scope=scope) as sandbox:
        await sandbox.command(["true"])
        later = await sandbox.run(LUCKY)
        last = await sandbox.run(LUCKY)
    again, _ = await once(compiling, LUCKY, scope)
    assert later.stdout != known.stdout
    assert last.stdout != later.stdout
    assert again.stdout == known.stdout


async def test_a_vm_that_dies_under_its_compiler(compiling: Engine, scope: str) -> None:
    async with compiling.sandbox(LANGUAGE, scope=scope) as sandbox:
        running = asyncio.create_task(sandbox.run("#!compile sleep 600"), name="run")
        await _sleeping(sandbox, 1)
        await sandbox._live.machine.kill()
        result = await running
        assert result.compile is not None
        assert (result.status, result.compile.reason, result.compile.ok) == (
            RunStatus.VM_DIED,
            "vm_died",
            False,
        )
        assert sandbox.closed


async def test_a_cancelled_compile_leaves_nothing(compiling: Engine, scope: str) -> None:
    async with compiling.sandbox(LANGUAGE, scope=scope) as sandbox:
        running = asyncio.create_task(sandbox.run("#!compile sleep 600"), name="run")
        await _sleeping(sandbox, 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await _sleeping(sandbox, 0)


async def _sleeping(sandbox: Sandbox, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await sandbox.command(["sh", "-c", "pgrep -xc sleep; true"])).stdout != f"{count}\n":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
