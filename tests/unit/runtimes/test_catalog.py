from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidManifest, UnknownRuntime
from emberbox.runtimes import RuntimeCatalog, builtin_folder, discover

if TYPE_CHECKING:
    from pathlib import Path


def add(
    folder: Path,
    name: str,
    *,
    aliases: str = "",
    extensions: str = "",
    version: str = "1",
    program: str | None = None,
) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "runtime.toml").write_text(
        f'name = "{name}"\nversion = "{version}"\naliases = [{aliases}]\nextensions = [{extensions}]\n'
        f'[run]\nargv = ["{program or name}", "{{script}}"]\n'
    )
    return place


@pytest.fixture
def catalog(tmp_path: Path) -> RuntimeCatalog:
    add(tmp_path, "python", aliases='"py", "python3"', extensions='".py"', program="python3")
    add(tmp_path, "node", aliases='"js"', extensions='".js", ".mjs"')
    return discover([tmp_path])


def test_the_built_in_ones_are_valid() -> None:
    catalog = discover([builtin_folder()])
    assert {"bash", "python"} <= set(catalog.names)
    python = catalog.get("python3")
    assert python.command("main.py", ["a"]) == ("python3", "main.py", "a")
    assert python.waiting is not None
    # A PYTHON variable would make the waiting interpreter refuse every run.
    assert not any(name.startswith(("PYTHON", "LD_", "LC_", "LANG")) for name in python.env)


def test_later_folders_replace_earlier_ones(tmp_path: Path) -> None:
    add(tmp_path / "a", "toy", version="1", aliases='"t"')
    add(tmp_path / "b", "toy", version="2")
    catalog = discover([tmp_path / "a", tmp_path / "missing", tmp_path / "b"])
    assert catalog.get("toy").version == "2"
    with pytest.raises(UnknownRuntime):
        catalog.get("t")


def test_get_by_name_and_alias(catalog: RuntimeCatalog) -> None:
    assert catalog.get("py") is catalog.get("python") is catalog.get(" Python3 ")
    assert [runtime.name for runtime in catalog] == ["node", "python"]
    assert len(catalog) == 2


def test_unknown_tells_what_there_is_and_what_was_meant(catalog: RuntimeCatalog) -> None:
    with pytest.raises(UnknownRuntime, match=r"Did you mean 'python'\? There is: node, python\."):
        catalog.get("pyhton")
    with pytest.raises(UnknownRuntime, match="No runtimes were found"):
        RuntimeCatalog([]).get("x")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.py", "", "python"),
        ("A.PY", "", "python"),
        ("a.mjs", "#!/usr/bin/python3\n", "node"),
        ("tool", "#!/usr/bin/env python3\n", "python"),
        ("tool", "#!/usr/bin/env -S node --flag\n", "node"),
        ("tool", "#!/usr/bin/env A=1 node", "node"),
        ("tool", "#! /usr/local/bin/python3.11 -I\n", "python"),
        ("tool", "#!/opt/node-20\n", "node"),
    ],
)
def test_for_file(catalog: RuntimeCatalog, tmp_path: Path, name: str, content: str, expected: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    assert catalog.for_file(file).name == expected


@pytest.mark.parametrize(
    "content", [b"", b"#!\n", b"#!/usr/bin/env\n", b"print()", b"#!/bin/perl\n", b"\xff\xfe#!"]
)
def test_for_file_without_a_hint(catalog: RuntimeCatalog, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tool.xyz"
    file.write_bytes(content)
    with pytest.raises(UnknownRuntime, match=r"There is: node, python"):
        catalog.for_file(file)
    with pytest.raises(UnknownRuntime):
        catalog.for_file(tmp_path / "missing")


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [("aliases", "aliases", "aliases"), ("extensions", "extensions", "extensions")],
)
def test_two_claims_are_refused_naming_both(tmp_path: Path, first: str, second: str, field: str) -> None:
    value = '"x"' if field == "aliases" else '".x"'
    one = add(tmp_path, "one", **{first: value})
    two = add(tmp_path, "two", **{second: value})
    with pytest.raises(InvalidManifest) as caught:
        discover([tmp_path])
    assert caught.value.field == field
    assert str(one) in str(caught.value) and str(two) in str(caught.value)


def test_an_alias_that_is_anothers_name_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "one")
    add(tmp_path, "two", aliases='"one"')
    with pytest.raises(InvalidManifest, match="claimed by"):
        discover([tmp_path])
