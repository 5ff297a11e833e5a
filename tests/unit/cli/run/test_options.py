"""The quick way of reading `emberbox run` says the same as Typer, or leaves the line to it."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from emberbox.cli.app import make_app
from emberbox.cli.run import options as run_options
from emberbox.cli.run import run
from emberbox.cli.run.options import RunLine, parse_quickly
from emberbox.model import RunOptions

if typing.TYPE_CHECKING:
    from emberbox.cli.context import GlobalOptions

WORDS = [
    "a.py",
    "-",
    "--",
    "-x",
    "run",
    "7",
    "K=V",
    "7.5",
    "--cold",
    "--time=1",
    "-r",
    "-rpython",
    "--runtime=",
    "-m",
    "--memory=5",
    "",
]
BEFORE: list[list[str]] = [[], ["--debug"], ["--data", "x"], ["--config=y", "-v"]]
OPTIONS = [*run_options.FLAGS, *run_options.VALUES]


def _typed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[GlobalOptions, RunLine] | None:
    seen: list[tuple[GlobalOptions, RunLine]] = []

    def execute(options: GlobalOptions, asked: RunLine) -> int:
        seen.append((options, asked))
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(run, "execute", execute)
        try:
            make_app(words)(args=words, prog_name="emberbox", standalone_mode=False)
        except Exception as error:
            if not hasattr(error, "show"):
                raise
    return seen[0] if seen else None


@given(
    st.lists(st.sampled_from([*OPTIONS, *WORDS]), max_size=7),
    st.sampled_from(BEFORE),
)
def test_both_ways_agree(words: list[str], before: list[str]) -> None:
    line = [*before, "run", *words]
    quick = parse_quickly(line)
    if quick is not None:
        assert _typed(line, pytest.MonkeyPatch()) == quick


@pytest.mark.parametrize(
    "words",
    [
        ["run", "hello.py"],
        ["--data", "d", "run", "hello.py", "a", "--time", "--", "-b"],
        [
            "run",
            "-r",
            "python",
            "-c",
            "print(1)",
            "-e",
            "A=1",
            "-e",
            "B",
            "-f",
            "x:y",
            "-t",
            "5",
            "-m",
            "512",
            "-i",
        ],
        ["run", "-", "--runtime=bash", "--timeout=0.5", "--json", "--cold"],
    ],
)
def test_ordinary_lines_are_read_quickly(words: list[str]) -> None:
    assert parse_quickly(words) is not None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["run"],
        ["run", "--help"],
        ["run", "x", "-t", "soon"],
        ["run", "x", "-t"],
        ["doctor"],
        ["--version"],
        ["run", "x", "-rpy"],
    ],
)
def test_the_rest_is_left_to_typer(words: list[str]) -> None:
    assert parse_quickly(words) is None


def test_both_ways_know_the_same_options() -> None:
    command: Any = typer.main.get_command(make_app())
    known = {
        name: option.name
        for option in command.commands["run"].params
        for name in option.opts
        if name.startswith("-")
    }
    known.pop("--help", None)
    assert known == {**run_options.FLAGS, **{name: field for name, (field, _) in run_options.VALUES.items()}}


def test_options_are_those_of_the_record() -> None:
    fields = set(typing.get_type_hints(RunLine)) - {"file", "args", "options"}
    taken = {*run_options.FLAGS.values(), *(field for field, _ in run_options.VALUES.values())}
    assert fields < taken
    assert taken - fields <= {option.name for option in dataclasses.fields(RunOptions)}


def test_code_makes_all_words_arguments() -> None:
    asked = RunLine.of(["a", "b"], {"code": "1"})
    assert (asked.file, asked.args) == (None, ("a", "b"))
