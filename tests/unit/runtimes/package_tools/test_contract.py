"""What every package tool must keep to."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.config import PackageSettings
from emberbox.runtimes import MANIFEST_NAME, load
from emberbox.runtimes.package_tools.base import Installation, PackageTool
from emberbox.runtimes.package_tools.registry import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)

INDEX, PROXY, TARGET = "https://index.example/simple", "http://127.0.0.1:3128", "/work/layer"


def command(tool: PackageTool, files: Iterable[str] = (), authorities: str | None = None) -> tuple[str, ...]:
    return tool.command(
        Installation(
            files=[*files] or tool.files[:1],
            target=TARGET,
            index=INDEX,
            proxy=PROXY,
            authorities=authorities,
        )
    )


def test_it_is_registered_under_its_name(tool: PackageTool) -> None:
    assert TOOLS[tool.name] is tool
    assert tool.files, "the first of its files says that there are packages"


def test_its_index_is_a_setting(tool: PackageTool) -> None:
    assert tool.setting in {field.name for field in fields(PackageSettings)}
    chosen = PackageSettings(**{tool.setting: INDEX})  # type: ignore[arg-type]
    assert (tool.index(PackageSettings()), tool.index(chosen)) == ("", INDEX)
    assert tool.own_index


def test_no_two_tools_read_one_file(tool: PackageTool) -> None:
    assert [other for other in TOOLS.values() if other.reads(tool.files[0])] == [tool]


def test_a_list_of_no_packages_is_empty_and_one_of_packages_is_not(tool: PackageTool) -> None:
    assert tool.empty(tool.listing([]))
    assert not tool.empty(tool.listing(["anything"]))


def test_what_it_installs_lies_below_the_root(tool: PackageTool) -> None:
    place = Path(tool.place)
    assert not place.is_absolute()
    assert ".." not in place.parts


def test_its_command_goes_to_that_index_by_that_proxy_into_that_folder(tool: PackageTool) -> None:
    said = " ".join(command(tool))
    for told in (INDEX, PROXY, TARGET):
        assert told in said
    assert "/some/authorities.pem" not in said
    assert "/some/authorities.pem" in " ".join(command(tool, authorities="/some/authorities.pem"))


def test_a_manifest_names_its_packages(tool: PackageTool, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    file = folder / MANIFEST_NAME
    file.write_text(
        f'''
        name = "toy"
        version = "1"
        description = "A toy."
        extensions = [".toy"]
        image.{tool.name} = ["anything"]
        packages.tool = "{tool.name}"
        run.argv = ["toy", "{{script}}"]
        '''
    )
    runtime = load(file)
    assert runtime.image.baked == {tool.name: ("anything",)}
    assert runtime.packages is not None
    assert runtime.packages.tool == tool.name


@pytest.mark.parametrize("entry", ["two words", "a\nb", "", "$(id)", "../up"])
def test_a_manifest_names_nothing_but_packages(tool: PackageTool, entry: str) -> None:
    assert re.fullmatch(tool.entry, entry) is None


def test_a_failure_is_told_in_its_own_words(tool: PackageTool) -> None:
    mark = tool.error_marks[0]
    told = tool.failure_message(f"much\n{mark} this went wrong\n")
    assert told == f"{tool.name} could not install the packages: {mark} this went wrong"
    assert tool.failure_message("only this\n").endswith(": only this")
    assert "said nothing" in tool.failure_message("")
    assert "no compiler" in tool.failure_message("error: [Errno 2] No such file or directory: 'gcc'\n")
