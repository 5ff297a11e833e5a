"""How pip is called and read."""

from __future__ import annotations

import pytest

from emberbox.runtimes.package_tools.base import Installation
from emberbox.runtimes.package_tools.pip import TOOL


def command(index: str) -> tuple[str, ...]:
    return TOOL.command(
        Installation(files=TOOL.files, target="/layer", index=index, proxy="http://127.0.0.1:3128")
    )


def test_an_index_of_plain_http_is_trusted_alone() -> None:
    plain = command("http://index.example:8080/simple")
    assert plain[plain.index("--trusted-host") + 1] == "index.example:8080"
    assert "--trusted-host" not in command("https://index.example/simple")


@pytest.mark.parametrize(("text", "empty"), [(b"# nothing\n\n  # at all\n", True), (b"six\n", False)])
def test_lists_that_ask_for_nothing(text: bytes, empty: bool) -> None:
    assert TOOL.empty(text) is empty


def test_any_text_file_may_be_a_list() -> None:
    assert TOOL.reads("requirements-dev.txt")
    assert not TOOL.reads("setup.py")


def test_what_it_indents_below_an_error_is_part_of_it() -> None:
    text = (
        "Looking\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n    six==1.0 from x:\n"
        "        Expected sha256 00\n             Got        11\nNotice\n    six again\n"
    )
    told = TOOL.failure_message(text)
    assert told.endswith("MATCH THE HASHES; six==1.0 from x:; Expected sha256 00; Got        11")
