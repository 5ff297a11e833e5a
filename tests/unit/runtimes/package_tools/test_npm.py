"""How npm is called and read."""

from __future__ import annotations

import json

import pytest

from emberbox.runtimes.package_tools.base import Installation
from emberbox.runtimes.package_tools.npm import TOOL


@pytest.mark.parametrize(
    ("files", "verb"), [(["package.json"], "install"), (["package.json", "package-lock.json"], "ci")]
)
def test_a_lock_file_is_followed(files: list[str], verb: str) -> None:
    installation = Installation(
        files=files, target="/layer", index="https://index.example", proxy="http://127.0.0.1:3128"
    )
    assert TOOL.command(installation)[:2] == ("npm", verb)


def test_names_with_and_without_scope_and_version() -> None:
    listing = TOOL.listing(["lodash@4.17.21", "@scope/name@1", "@scope/other", "plain"])
    wanted = json.loads(listing)["dependencies"]
    assert wanted == {"lodash": "4.17.21", "@scope/name": "1", "@scope/other": "*", "plain": "*"}


@pytest.mark.parametrize(
    ("text", "empty"),
    [
        (b'{"type": "module"}', True),
        (b'{"dependencies": {}}', True),
        (b'{"dependencies": {"a": "1"}}', False),
        (b"not json", False),
    ],
)
def test_lists_that_ask_for_nothing(text: bytes, empty: bool) -> None:
    assert TOOL.empty(text) is empty


def test_a_failure_begins_with_what_is_wrong() -> None:
    lines = ("code E404", "404 Not Found", "404 ", "404  'zz@*' is not in this registry.", "more", "log")
    told = TOOL.failure_message("".join(f"npm ERR! {line}\n" for line in lines))
    assert told.endswith("npm ERR! 404  'zz@*' is not in this registry.; npm ERR! more")
