"""docs/runtimes.md is right: its worked example loads, and all fields are in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emberbox.errors import InvalidManifest
from emberbox.languages.examples import Examples
from emberbox.runtimes import discover, load

PAGE = (Path(__file__).parents[3] / "docs/runtimes.md").read_text()
TOP = """
name = "toy"
version = "1"
compile.argv = ["cc", "{script}", "{output}"]
run.argv = ["{output}"]
waiting.argv = ["toy", "{placeholder}"]
"""


def extract(folder: Path) -> None:
    """Write the files of the worked example below a folder."""
    for name, content in re.findall(r"^`(zsh/[\w./]+)`\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_the_worked_example_loads_and_lacks_nothing(tmp_path: Path) -> None:
    extract(tmp_path)
    runtime = discover([tmp_path]).get("zsh")
    assert runtime.command("/work/hello.zsh", ["a"]) == ("zsh", "/work/hello.zsh", "a")
    assert Examples.of(runtime).missing == ()
    assert {
        file.relative_to(tmp_path / "zsh").as_posix() for file in tmp_path.rglob("*") if file.is_file()
    } == {
        "runtime.toml",
        "warm.zsh",
        *(f"examples/{name}.zsh" for name in ("hello", "program", "compile_error", "runtime_error")),
    }


@pytest.mark.parametrize(
    "table", ["", "image.", "run.", "compile.", "packages.", "waiting.", "warm.", "limits."]
)
def test_every_field_of_a_manifest_is_described(tmp_path: Path, table: str) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    needed = 'packages.tool = "pip"\n' if table == "packages." else ""
    (folder / "runtime.toml").write_text(f"{TOP}{needed}{table}nonsense = 1\n")
    with pytest.raises(InvalidManifest, match="Known here: ") as caught:
        load(folder / "runtime.toml")
    known = caught.value.problem.partition("Known here: ")[2].split(", ")
    tables = {"image", "run", "compile", "packages", "waiting", "warm", "limits"} if not table else set()
    described = set(re.findall(rf"`({re.escape(table)}\w+)`", PAGE))
    assert {f"{table}{name}" for name in known if name not in tables} <= described
