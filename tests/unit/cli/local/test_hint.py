"""The hint after a setup is a command of the language that was set up."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.cli.local.hint import run_hint
from emberbox.runtimes import Runtime, builtin_folder, discover

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILT_IN = {runtime.name: runtime for runtime in discover([builtin_folder()])}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_each_language_shows_itself(name: str) -> None:
    runtime = BUILT_IN[name]
    command, *words = shlex.split(run_hint(runtime))
    assert (command, words[:3]) == ("emberbox", ["run", "-r", name])
    assert program_of(words[3:]) == next((runtime.folder / "examples").glob("hello.*")).read_text().strip()


def program_of(words: Sequence[str]) -> str:
    return words[1] if words[0] == "-c" else Path(words[0]).read_text().strip()


def test_short_programs_stand_in_the_command_itself() -> None:
    assert run_hint(BUILT_IN["lua"]) == """emberbox run -r lua -c 'print("hello, world")'"""
    assert run_hint(BUILT_IN["c"]).endswith("examples/hello.c")


def test_a_runtime_without_examples_and_an_images_own_program(tmp_path: Path) -> None:
    bare: Runtime = replace(BUILT_IN["lua"], folder=tmp_path)
    assert run_hint(bare) == "emberbox run -r lua FILE"
    assert run_hint(replace(bare, argv=("/app/tool",))) == "emberbox run -r lua"
