"""The commands that hand in a program and look at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.client.conftest import Command

LANGUAGE = "shell-compiled"


async def test_submit_shows_why_it_does_not_compile(emberbox: Command) -> None:
    done = await emberbox("submit", "-c", "if", "-r", LANGUAGE, "--wait")
    assert (done.code, done.out) == (65, "")
    assert "syntax error" in done.err
    assert done.err.endswith("compile failed: the compiler ended with exit code 2\n")
    listed = json.loads((await emberbox("jobs", "list", "--status", "compile_failed", "--json")).out)
    assert [job["status"] for job in listed] == ["compile_failed"]
    shown = await emberbox("jobs", "get", listed[0]["id"])
    assert "failed, exit code 2" in shown.out
    logs = await emberbox("logs", "-f", listed[0]["id"])
    assert (logs.code, logs.out, "syntax error" in logs.err) == (65, "", True)


async def test_what_compiles_shows_the_program_alone(emberbox: Command) -> None:
    for told in ("compiled", "cached"):
        done = await emberbox(
            "submit", "-c", "#!compile echo warned >&2\necho out; exit 3", "-r", LANGUAGE, "--wait"
        )
        assert (done.code, done.out, done.err) == (3, "out\n", "")
        (job, *_) = json.loads((await emberbox("jobs", "list", "--json")).out)
        assert f"{told}" in (await emberbox("jobs", "get", job["id"])).out
