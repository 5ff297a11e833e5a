"""Commands that are held in the template, on real VMs: who gets them, and that nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, RunStatus
from emberbox.config import PoolSettings
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.config import Settings
    from emberbox.images import ImageStore
    from emberbox.model import RunResult
    from emberbox.sandbox import Sandbox

RUNTIMES = Path(__file__).parents[1] / "runtimes"
TELL = {
    "awk-held": 'BEGIN { while ((getline line) > 0) print "got", line; '
    'system("ls; id -u; echo $HELD $MORE; pwd"); exit 4 }',
    "shell-held": 'while read line; do echo "got $line"; done; ls; id -u; echo $HELD $MORE; pwd; exit 4',
}


@pytest_asyncio.fixture(scope="module")
async def holding(settings: Settings, images: ImageStore) -> AsyncIterator[Engine]:
    """An engine that knows the tests' own runtimes."""
    async with Engine(replace(settings, runtimes=(RUNTIMES,))) as running:
        yield running


async def told(sandbox: Sandbox, code: str, **options: object) -> tuple[RunResult, bool]:
    """Return a run's result, and whether what was held ran it."""
    process = await sandbox.start_script(code, stdin=True, **options)  # type: ignore[arg-type]
    async with process:
        return await process.collect(b"1\n2\n"), process.by_waiting_interpreter


@pytest.mark.parametrize(("runtime", "again"), [("awk-held", True), ("shell-held", False)])
async def test_inline_code_is_run_by_what_is_held(holding: Engine, runtime: str, again: bool) -> None:
    script = f"main{holding.runtimes.get(runtime).extensions[0]}"
    async with holding.sandbox(runtime) as sandbox:
        # Where the script is opened early, no other is started beside a script.
        for held in (True, True, again):
            result, was_held = await told(sandbox, TELL[runtime])
            assert (result.exit_code, result.stderr, was_held) == (4, "", held)
            assert result.stdout == f"got 1\ngot 2\n{script}\noutput\n1000\nyes\n/work\n"


@pytest.mark.parametrize("runtime", ["awk-held", "shell-held"])
async def test_other_command_lines_are_started(holding: Engine, runtime: str) -> None:
    async with holding.sandbox(runtime) as sandbox:
        named, by_name = await told(sandbox, TELL[runtime], name="other")
        varied, by_variable = await told(sandbox, TELL[runtime], env={"MORE": "more"})
        _, by_argument = await told(sandbox, TELL[runtime], args=["x"])
        assert (by_name, by_variable, by_argument) == (False, False, False)
        assert "\nother\noutput\n1000\nyes\n" in named.stdout
        assert "\nyes more\n" in varied.stdout
        _, held = await told(sandbox, TELL[runtime])
        assert held


async def test_limits_hold_for_what_was_held(holding: Engine) -> None:
    async with holding.sandbox("awk-held") as sandbox:
        endless = await sandbox.run("BEGIN { while (1) ; }", timeout_s=1)
        hungry = await sandbox.run(
            'BEGIN { x = "x"; while (1) x = x x }', limits=replace(sandbox.limits, memory_mib=32)
        )
        assert (endless.status, hungry.status) == (RunStatus.TIMED_OUT, RunStatus.OUT_OF_MEMORY)


async def test_a_program_that_kills_what_is_held(holding: Engine) -> None:
    async with holding.sandbox("awk-held") as sandbox:
        await sandbox.run('BEGIN { system("kill -9 -1") }', name="killer")
        result, _ = await told(sandbox, TELL["awk-held"])
        assert result.stdout.startswith("got 1\ngot 2\n")


async def test_a_large_script_arrives_whole_in_an_open_file(holding: Engine) -> None:
    line = "# " + "x" * 61 + "\n"
    async with holding.sandbox("shell-held") as sandbox:
        result, held = await told(sandbox, line * 40_000 + "echo end\n")
        assert (result.stdout, held) == ("end\n", True)


async def test_a_script_that_its_user_may_not_read_stays_unread(holding: Engine) -> None:
    async with holding.sandbox("shell-held") as sandbox:
        await sandbox.command(["ln", "-s", "/etc/shadow", "main.shx"])
        process = await sandbox.start_file("main.shx")
        async with process:
            result = await process.collect(None)
        assert result.exit_code not in (0, None)
        assert "root" not in result.stdout + result.stderr
        assert "Permission denied" in result.stderr


async def test_a_held_compiler_and_its_held_program(holding: Engine, tmp_path: Path) -> None:
    async with holding.sandbox("copy-held", scope=str(tmp_path)) as sandbox:
        process = await sandbox.start_script('BEGIN { print "compiled" }')
        async with process:
            result = await process.collect(None)
        assert (result.stdout, process.by_waiting_interpreter) == ("compiled\n", True)
        assert result.compile is not None
        assert result.compile.reason == "compiled"


async def test_pooled_clones_are_primed_by_what_is_held(settings: Settings, images: ImageStore) -> None:
    own = replace(settings, runtimes=(RUNTIMES,), pool=PoolSettings(minimum=1, maximum=1))
    async with Engine(own) as engine:
        assert await engine.warm_pool("shell-held", 1, timeout_s=PATIENCE_S)
        async with engine.sandbox("shell-held") as sandbox:
            result, held = await told(sandbox, TELL["shell-held"])
        assert (result.metrics.source, held) == ("pool", True)
        assert result.stdout == "got 1\ngot 2\nmain.shx\noutput\n1000\nyes\n/work\n"
