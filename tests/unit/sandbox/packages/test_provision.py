"""The runtime that a build VM boots."""

from __future__ import annotations

from dataclasses import replace

from emberbox.runtimes import PackagesRecipe, builtin_folder, load
from emberbox.sandbox.packages.provision import build_runtime

PYTHON = load(builtin_folder() / "python/runtime.toml")


def test_it_is_the_runtime_itself_where_installing_needs_nothing_more() -> None:
    assert build_runtime(PYTHON) is PYTHON


def test_what_only_installing_needs_makes_an_image_of_its_own() -> None:
    other = build_runtime(replace(PYTHON, packages=PackagesRecipe(tool="npm", build=("npm", "python3"))))
    assert other.name == "python-build"
    assert other.image.packages == (*PYTHON.image.packages, "npm")
    assert other.image.remove == ()
    assert other.fingerprint != PYTHON.fingerprint
