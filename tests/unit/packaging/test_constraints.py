"""constraints/: every package that an installation takes from the index, by version and hash."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
HOSTS = [
    {
        "sys_platform": "linux",
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.0",
    }
    for python in ("3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]
NEEDED = {
    "build": PROJECT["build-system"]["requires"],
    "wheel": PROJECT["project"]["dependencies"],
    "dev": [line for lines in EXTRAS.values() for line in lines],
}
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def blocks(name: str) -> list[list[str]]:
    """Return the lines of each package in a file, those of the files that it includes first."""
    found: list[list[str]] = []
    for line in (ROOT / f"constraints/{name}.txt").read_text().splitlines():
        if line.startswith("-r "):
            found += blocks(line.removeprefix("-r ").removesuffix(".txt"))
        elif line.startswith(" "):
            found[-1].append(line)
        elif not line.startswith("#"):
            found.append([line])
    return found


def pins(name: str, host: dict[str, str]) -> dict[str, Version]:
    """Return the versions that a file gives a host."""
    found: dict[str, Version] = {}
    for first, *_ in blocks(name):
        pin = Requirement(first.removesuffix("\\"))
        if pin.marker is None or pin.marker.evaluate(dict(host)):
            assert pin.name not in found, f"{pin.name} stands there twice"
            found[canonicalize_name(pin.name)] = Version(next(iter(pin.specifier)).version)
    return found


def wanted(name: str, host: dict[str, str]) -> list[Requirement]:
    lines = [line for part in ("build", "wheel", "dev") if name in (part, "dev") for line in NEEDED[part]]
    found = map(Requirement, lines)
    return [one for one in found if one.marker is None or one.marker.evaluate(dict(host))]


@pytest.mark.parametrize(
    "host", HOSTS, ids=lambda host: f"{host['platform_machine']}-{host['python_version']}"
)
@pytest.mark.parametrize("name", NEEDED)
def test_each_dependency_is_there_in_a_version_that_is_allowed(name: str, host: dict[str, str]) -> None:
    pinned = pins(name, host)
    for want in wanted(name, host):
        version = pinned.get(canonicalize_name(want.name))
        assert version is not None, f"{want.name} is missing: python -m scripts.constraints"
        assert want.specifier.contains(version, prereleases=True), f"{want} is not {version}"


@pytest.mark.parametrize("name", NEEDED)
def test_what_they_need_themselves_is_there_too(name: str) -> None:
    """Looked up among the packages that are installed here."""
    pinned = pins(name, HOSTS[0])
    queue = [(canonicalize_name(want.name), frozenset(want.extras)) for want in wanted(name, HOSTS[0])]
    seen = set(queue)
    while queue:
        package, extras = queue.pop()
        assert package in pinned, f"{package} is missing: python -m scripts.constraints"
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue  # this environment was made by other means, or for another system
        for want in map(Requirement, lines):
            given = [{**HOSTS[0], "extra": extra} for extra in ("", *extras)]
            if want.marker is None or any(want.marker.evaluate(dict(one)) for one in given):
                entry = (canonicalize_name(want.name), frozenset(want.extras))
                queue += [entry] if entry not in seen else []
                seen.add(entry)


@pytest.mark.parametrize("name", NEEDED)
def test_every_line_is_a_version_or_a_hash_and_none_says_where_from(name: str) -> None:
    found = blocks(name)
    assert found
    for first, *hashes in found:
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[\w.]+( ; [^\\/]+)? \\", first), first
        assert hashes and all(_HASH.fullmatch(line) for line in hashes), first
    assert "://" not in (ROOT / f"constraints/{name}.txt").read_text()


def test_the_documented_installs_are_held_to_them() -> None:
    """Every call of pip in the scripts either checks hashes or asks no index."""
    for script, guide in (("venv.sh", "Makefile"), ("install.sh", "docs/deployment.md")):
        text = (ROOT / "scripts" / script).read_text().replace("\\\n", " ")
        calls = [line for line in text.splitlines() if re.search(r"\$pip |-m pip .*(install|wheel) ", line)]
        assert len(calls) > 1
        for call in calls:
            assert "--require-hashes" in call or "--no-index" in call, call
        assert f"scripts/{script}" in (ROOT / guide).read_text()
