"""A program run by the waiting interpreter cannot tell: the same programs, in VMs, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox import Engine, RunResult, Sandbox

PROGRAMS = sorted((Path(__file__).parents[1] / "programs").glob("*.py"))
ENVIRONMENT = {"K": "v=1"}


@pytest_asyncio.fixture(scope="module")
async def sandbox(engine: Engine) -> AsyncIterator[Sandbox]:
    async with engine.sandbox("python") as opened:
        await opened.write_file("helper.py", b"")
        await opened.make_folder("__pycache__")
        yield opened


async def _run(sandbox: Sandbox, program: Path, environment: dict[str, str]) -> tuple[RunResult, bool]:
    process = await sandbox.start_script(
        program.read_bytes(),
        ["a", "b c", "é", ""],
        stdin=True,
        env=ENVIRONMENT | environment,
        name="prográm.py",
        timeout_s=60,
    )
    async with process:
        result = await process.collect(b"first\nsecond\n")
        return result, process.by_waiting_interpreter


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
async def test_a_program_cannot_tell(program: Path, sandbox: Sandbox) -> None:
    waiting, by_waiting = await _run(sandbox, program, {})
    # A variable that an interpreter reads at its start makes the run an ordinary one.
    plain, by_plain = await _run(sandbox, program, {"PYTHONNOUSERSITE": ""})
    assert (by_waiting, by_plain) == (True, False)

    def seen(result: RunResult) -> tuple[object, ...]:
        return (
            result.status,
            result.exit_code,
            result.signal,
            result.stdout.replace("('PYTHONNOUSERSITE', ''), ", ""),
            result.stderr,
        )

    clean = (*seen(plain)[:3], _without_control(plain.stdout), plain.stderr)
    assert seen(waiting) == clean


def _without_control(text: str) -> str:
    for shown in ("('PYTHONNOUSERSITE', ''), ", "(b'PYTHONNOUSERSITE', b''), "):
        text = text.replace(shown, "")
    return text
