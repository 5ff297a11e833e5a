"""The parts that checks, times and the page are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.config import Settings
from emberbox.errors import InvalidInput
from emberbox.languages.bad_input import LARGE_BYTES, bad_inputs
from emberbox.languages.folders import with_folder
from emberbox.languages.programs import names_line
from emberbox.languages.subject import ended
from emberbox.languages.timings import Spread, unseen
from emberbox.languages.twins import compare
from emberbox.languages.verdict import Skipped, Wrong, one_line, verdict
from emberbox.runtimes import builtin_folder, discover
from tests.unit.languages.fakes import make_runtime, ran, refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("message", "lines", "found"),
    [
        ("main.c:3:5: error", 4, True),
        ("line 3: syntax error", 3, True),
        ("(3) Fatal: syntax", 3, True),
        ("line 9: syntax error", 4, False),
        ("python 3.11.2 does not like it", 4, False),
        ("lua5.4: what?", 9, False),
        ("no number", 4, False),
        ("line 0", 4, False),
        ("at 99999999999999999999", 4, False),
    ],
)
def test_a_line_is_named(message: str, lines: int, found: bool) -> None:
    assert names_line(message, lines) is found


def test_twins_are_compared_line_by_line() -> None:
    assert compare([["a 1", "b 1"], ["a 2", "b 2"], ["a 3", "b 3"]]) == 2
    with pytest.raises(Wrong, match="line 2 is the same in 2 of 3 clones: 'b 1'"):
        compare([["a 1", "b 1"], ["a 2", "b 2"], ["a 3", "b 1"]])
    with pytest.raises(Wrong, match=r"printed \[1, 2\] lines"):
        compare([["a 1"], ["a 2", "b"]])
    with pytest.raises(Wrong, match=r"printed \[0\] lines"):
        compare([[], []])


def test_every_language_is_given_the_same_bad_input(tmp_path: Path) -> None:
    bad = {one.name: one for one in bad_inputs(make_runtime(tmp_path), b"hello\n")}
    assert bad["empty source"].code == b""
    with pytest.raises(UnicodeDecodeError):
        bad["invalid UTF-8"].code.decode()
    assert len(bad["10 MiB source"].code) >= LARGE_BYTES
    names = [one.script for one in bad.values() if one.script]
    assert any(name.startswith("-") for name in names) and any(" " in name and "'" in name for name in names)
    assert any(not name.isascii() for name in names) and "toy.toy" in names
    assert "stdio.h" in bad["system files' names beside it"].files
    assert {"main.toy.out/keep/it"} == set(bad["a folder where its output goes"].files)
    assert b"#include" in bad["wrong language"].code
    assert (
        b"#include"
        not in {one.name: one for one in bad_inputs(make_runtime(tmp_path / "c"), b"#include <x>\n")}[
            "wrong language"
        ].code
    )


async def test_a_verdict_takes_what_a_check_raises() -> None:
    async def wrong() -> str:
        raise Wrong("a\nb", "do c")

    async def skipped() -> str:
        raise Skipped("nothing there")

    async def slow() -> str:
        raise TimeoutError

    assert (await verdict("x", wrong, 1)).to_dict() == {
        "name": "x",
        "level": "wrong",
        "found": "a b",
        "mend": "do c",
    }
    assert (await verdict("x", skipped, 1)).level == "skipped"
    assert "not done within 1 s" in (await verdict("x", slow, 1)).found
    assert len(one_line("x" * 1000)) == 300


def test_spreads() -> None:
    assert Spread().to_dict() is None
    assert Spread([5.0]).percentile(95) == 5.0
    spread = Spread([float(number) for number in range(1, 101)])
    assert (spread.percentile(50), spread.percentile(95)) == (50.5, 95.05)


def test_a_source_is_made_one_that_was_never_seen() -> None:
    first, second = unseen(), unseen()
    assert first != second and not first.strip()


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/runtime.toml").write_text("no TOML at all")
    with with_folder(Settings(data=tmp_path), runtime.folder) as (settings, names):
        assert names == ("toy",)
        found = discover([builtin_folder(), *settings.runtimes]).get("toy")
        assert found.fingerprint == runtime.fingerprint
    with with_folder(Settings(data=tmp_path), tmp_path) as (_, names):
        assert names == ("broken", "toy")
    with (
        pytest.raises(InvalidInput, match=r"no runtime\.toml"),
        with_folder(Settings(data=tmp_path), tmp_path / "toy/examples"),
    ):
        pass


def test_how_a_run_ended_is_told_in_one_line() -> None:
    assert ended(refused(b"main.toy:2: what?\nmain.toy:9: and what?")) == "compile_failed: main.toy:2: what?"
    assert ended(refused(b"")) == "compile_failed: the compiler refused it"
    assert (
        ended(ran(stderr=b"Traceback:\n  line 2\nError: no", exit_code=1)) == "failed, exit code 1: Error: no"
    )
    assert ended(ran(b"fine\n")) == "succeeded, exit code 0"
