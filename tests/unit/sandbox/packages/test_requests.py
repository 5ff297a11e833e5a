"""What scripts ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from emberbox.errors import InvalidInput
from emberbox.runtimes import builtin_folder, load
from emberbox.sandbox.packages.requests import PackageRequest, request_of

PYTHON = load(builtin_folder() / "python/runtime.toml")
BASH = load(builtin_folder() / "bash/runtime.toml")


def test_a_request_comes_from_a_file_a_text_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "requirements-dev.txt"
    file.write_text("six\n")
    for asked in (
        file,
        "six\n",
        {"pip": ["six"]},
        PackageRequest(tool="pip", files={"requirements.txt": b"six\n"}),
    ):
        assert request_of(asked, PYTHON).files == {"requirements.txt": b"six\n"}


def test_a_lock_file_comes_along(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text("lock")
    request = PackageRequest.of_path(tmp_path / "package.json")
    assert request.files == {"package.json": b"{}", "package-lock.json": b"lock"}


@pytest.mark.parametrize(
    "asked", [{"npm": ["a"]}, {"pip": [], "npm": []}, {"cargo": ["a"]}, Path("/none/requirements.txt")]
)
def test_what_a_runtime_does_not_install_is_refused(asked: object) -> None:
    with pytest.raises(InvalidInput):
        request_of(asked, PYTHON)  # type: ignore[arg-type]


def test_a_runtime_without_packages_says_so() -> None:
    with pytest.raises(InvalidInput, match=r"bash takes no packages"):
        request_of("six", BASH)


def test_the_key_depends_on_all_that_matters() -> None:
    one = PackageRequest(tool="pip", files={"requirements.txt": b"six"})
    other = PackageRequest(tool="pip", files={"requirements.txt": b"six==1.16.0"})
    assert len({one.key("image"), other.key("image"), one.key("another"), one.key("image", "index")}) == 4


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger"):
        PackageRequest(tool="pip", files={"requirements.txt": bytes(5 * 1024 * 1024)})
