"""The tests that SECURITY.md names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_TESTS = Path(__file__).parent.parent
_PAGE = _TESTS.parent / "SECURITY.md"
_NAMED = re.compile(
    r"`(?P<file>[\w/]*?\w+\.py)?(?:::(?P<test>test_\w+))?`|`(?P<folder>(?:unit|e2e|integration|contract)/[\w/]*)`"
)


def named() -> list[tuple[str, str | None]]:
    """Return the file or folder, and the test in it, of each test that the page names."""
    found: list[tuple[str, str | None]] = []
    file = ""
    for match in _NAMED.finditer(_PAGE.read_text()):
        if match["folder"] is not None:
            found.append((match["folder"], None))
            continue
        file = match["file"] or file
        if match["file"] or match["test"]:
            found.append((file, match["test"]))
    return found


@pytest.mark.parametrize(("place", "test"), sorted(set(named()), key=str))
def test_a_test_that_the_page_names_exists(place: str, test: str | None) -> None:
    paths = (
        [_TESTS / place]
        if (_TESTS / place).exists()
        else [path for path in _TESTS.rglob("*.py") if path.name == place]
    )
    assert paths, f"there is no {place}"
    if test is not None:
        assert any(re.search(rf"def {test}\(", path.read_text()) for path in paths), f"{place} has no {test}"


def test_the_page_names_tests() -> None:
    assert len(named()) > 50
