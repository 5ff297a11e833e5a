"""The examples do what they say."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.client.conftest import ROOT, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.client import AsyncClient

EXAMPLES = ROOT / "examples"


async def test_submit(environment: dict[str, str], tmp_path: Path) -> None:
    done = await run_program(
        sys.executable, str(EXAMPLES / "service_submit.py"), cwd=tmp_path, env=environment
    )
    assert (done.code, done.err) == (0, "")
    assert "succeeded, exit code 0\nthe sum is 12\nresult: {" in done.out


async def test_submit_without_a_server(environment: dict[str, str], tmp_path: Path) -> None:
    gone = {**environment, "EMBERBOX_API_KEY": "ember_wrong"}
    done = await run_program(sys.executable, str(EXAMPLES / "service_submit.py"), cwd=tmp_path, env=gone)
    assert done.code == 1
    assert done.err.startswith("not_authenticated: ")


async def test_follow_logs(environment: dict[str, str], tmp_path: Path) -> None:
    done = await run_program(
        sys.executable, str(EXAMPLES / "service_follow_logs.py"), cwd=tmp_path, env=environment
    )
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    for name in ("one", "two", "three"):
        ours = [line for line in lines if line.startswith(f"{name} ")]
        assert ours == [*(f"{name} stdout: step {step}" for step in range(3)), f"{name} stderr: done"]
    assert lines[-1] == "3 of 3 succeeded"


async def test_archive(environment: dict[str, str], tmp_path: Path, client: AsyncClient) -> None:
    done = await run_program(
        sys.executable, str(EXAMPLES / "service_archive.py"), cwd=tmp_path, env=environment
    )
    assert (done.code, done.err) == (0, "")
    assert "3 files, runs main.py with python" in done.out
    assert "wrote a report of 3 words\n  1  one\n  2  two\n  3  three\n" in done.out
    assert [script async for script in client.scripts.list()] == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_curl(environment: dict[str, str], tmp_path: Path, client: AsyncClient) -> None:
    done = await run_program(str(EXAMPLES / "service_curl.sh"), cwd=tmp_path, env=environment)
    assert (done.code, done.err) == (0, "")
    assert "as text\nember\nbox\n" in done.out
    assert "== the result\nsucceeded\n" in done.out
    assert "wait for the result\n42\n" in done.out
    assert [script async for script in client.scripts.list()] == []
