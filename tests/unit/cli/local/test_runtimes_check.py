"""`emberbox runtimes` and what it says of languages."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.cli.main import main
from emberbox.runtimes import discover
from tests.unit.languages.fakes import FakeEngine, make_runtime, ran

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.config import Settings


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """How the engine deviates; it knows the runtimes of the settings' own folders."""
    chosen: dict[str, Any] = {}

    @asynccontextmanager
    async def make(settings: Settings) -> AsyncIterator[FakeEngine]:
        runtimes = discover(settings.runtimes)
        engine = FakeEngine(runtimes.get("toy"), **chosen)
        engine.runtimes = runtimes
        yield engine

    monkeypatch.setattr("emberbox.languages.checking.plain_engine", make)
    return chosen


def test_a_good_language(tmp_path: Path, ways: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_runtime(tmp_path).folder
    assert main(["runtimes", "check", "--quick", "--folder", str(folder)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "toy 1.2" and told[-1] == "Nothing wrong."
    assert any(
        line.split() == ["ok", "hello", "prints", "its", "greeting", "and", "exits", "with", "0"]
        for line in told
    )


def test_findings_come_with_what_mends_them(
    tmp_path: Path, ways: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ways["answers"] = {"runtime_error": ran(b"\x1b[2Jhello\n", b"no", exit_code=1)}
    folder = make_runtime(tmp_path).folder
    assert main(["runtimes", "check", "--quick", "--folder", str(folder)]) == 1
    told = capsys.readouterr().out
    assert (
        "WRONG  runtime error" in told
        and "to mend it: let runtime_error.toy print" in told
        and "\x1b[2J" not in told
    )
    assert told.splitlines()[-1] == "1 wrong in toy."


def test_json_is_all_of_standard_output(
    tmp_path: Path, ways: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_runtime(tmp_path, examples=("hello",)).folder
    assert main(["runtimes", "check", "toy", "--quick", "--json", "--folder", str(folder)]) == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["ok"], [runtime["name"] for runtime in found["runtimes"]]) == (False, ["toy"])
    assert {check["level"] for check in found["runtimes"][0]["checks"]} == {"ok", "wrong", "skipped"}
    assert "examples: missing: program.toy" in told.err


def test_something_must_be_named(ways: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtimes", "check"]) == 2
    assert "name what to check, or --all" in capsys.readouterr().err


def test_show_and_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtimes", "show", "bash", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["run"], shown["limits"]["memory_mib"]) == (["bash", "{script}"], 128)
    assert "hello.sh" in shown["examples"]
    assert main(["runtimes", "show", "sh"]) == 0
    assert "bash {script}" in capsys.readouterr().out
    assert main(["runtimes", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    assert main(["runtimes", "--json"]) == 0
    assert capsys.readouterr().out == listed
    assert main(["runtimes", "show", "klingon"]) == 2
