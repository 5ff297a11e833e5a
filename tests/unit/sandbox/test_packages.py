"""What scripts ask for, and how the tools are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emberbox.errors import InvalidInput
from emberbox.runtimes import builtin_folder, load
from emberbox.sandbox.packages import PackageRequest, failure_message, install_command, request_of

PYTHON = load(builtin_folder() / "python/runtime.toml")
BASH = load(builtin_folder() / "bash/runtime.toml")


def test_a_request_comes_from_a_file_a_text_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "requirements-dev.txt"
    file.write_text("six\n")
    for asked in (file, "six\n", {"pip": ["six"]}, PackageRequest(tool="pip", files={"requirements.txt": b"six\n"})):
        assert request_of(asked, PYTHON).files == {"requirements.txt": b"six\n"}


def test_a_lock_file_comes_along(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / "package-lock.json").write_text("lock")
    request = PackageRequest.of_path(tmp_path / "package.json")
    assert request.files == {"package.json": b"{}", "package-lock.json": b"lock"}
    assert install_command(request, "https://index.example")[:2] == ("npm", "ci")


def test_names_of_npm_packages_with_and_without_scope_and_version() -> None:
    request = PackageRequest.of_names("npm", ["lodash@4.17.21", "@scope/name@1", "@scope/other", "plain"])
    wanted = json.loads(request.files["package.json"])["dependencies"]
    assert wanted == {"lodash": "4.17.21", "@scope/name": "1", "@scope/other": "*", "plain": "*"}


@pytest.mark.parametrize("asked", [{"npm": ["a"]}, {"pip": [], "npm": []}, {"cargo": ["a"]}, Path("/none/requirements.txt")])
def test_what_a_runtime_does_not_install_is_refused(asked: object) -> None:
    with pytest.raises(InvalidInput):
        request_of(asked, PYTHON)  # type: ignore[arg-type]


def test_a_runtime_without_packages_says_so() -> None:
    with pytest.raises(InvalidInput, match=r"bash takes no packages"):
        request_of("six", BASH)


@pytest.mark.parametrize(
    ("tool", "name", "text", "empty"),
    [
        ("pip", "requirements.txt", "# nothing\n\n  # at all\n", True),
        ("pip", "requirements.txt", "six\n", False),
        ("npm", "package.json", '{"type": "module"}', True),
        ("npm", "package.json", '{"dependencies": {}}', True),
        ("npm", "package.json", '{"dependencies": {"a": "1"}}', False),
        ("npm", "package.json", "not json", False),
    ],
)
def test_files_that_ask_for_nothing(tool: str, name: str, text: str, empty: bool) -> None:
    assert PackageRequest(tool=tool, files={name: text.encode()}).empty is empty


def test_the_key_depends_on_all_that_matters() -> None:
    one = PackageRequest(tool="pip", files={"requirements.txt": b"six"})
    other = PackageRequest(tool="pip", files={"requirements.txt": b"six==1.16.0"})
    assert len({one.key("image"), other.key("image"), one.key("another"), one.key("image", "index")}) == 4


def test_an_index_of_plain_http_is_trusted_alone() -> None:
    request = PackageRequest(tool="pip", files={"requirements.txt": b"six"})
    command = install_command(request, "http://index.example:8080/simple")
    assert command[command.index("--trusted-host") + 1] == "index.example:8080"
    assert "--trusted-host" not in install_command(request, "https://index.example/simple")


def test_a_failure_is_told_in_the_tools_words_and_a_missing_compiler_is_named() -> None:
    text = "Collecting x\nERROR: Could not find a version that satisfies the requirement x\n"
    assert failure_message("pip", text).endswith("ERROR: Could not find a version that satisfies the requirement x")
    assert "no compiler" in failure_message("pip", "error: [Errno 2] No such file or directory: 'gcc'\n")
    lines = ("code E404", "404 Not Found", "404 ", "404  'zz@*' is not in this registry.", "more", "log")
    npm = "".join(f"npm ERR! {line}\n" for line in lines)
    assert failure_message("npm", npm).endswith("npm ERR! 404  'zz@*' is not in this registry.; npm ERR! more")
    assert "said nothing" in failure_message("npm", "")


def test_what_pip_indents_below_an_error_is_part_of_it() -> None:
    text = (
        "Looking\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    six==1.0 from x:\n"
        "        Expected sha256 00\n             Got        11\nNotice\n    six again\n"
    )
    told = failure_message("pip", text)
    assert told.endswith("MATCH THE HASHES; six==1.0 from x:; Expected sha256 00; Got        11")


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="larger"):
        PackageRequest(tool="pip", files={"requirements.txt": bytes(5 * 1024 * 1024)})
