"""The pages in docs/: their links lead somewhere, their prose fits a screen, and the index names them all."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(ROOT.glob("docs/*.md"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def _prose(page: Path) -> list[str]:
    """Return the lines of a page, without code.

    Code is in fences, or stands four columns in behind an empty line.
    """
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<=\n\n)( {4}.*\n|\n)+", "", text).splitlines()


@cache
def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = [line.lstrip("#").strip() for line in _prose(page) if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_PAGE
def test_links_lead_somewhere(page: Path) -> None:
    for place, anchor in re.findall(r"\]\((?!https:)([^)#\s]*)#?([^)\s]*)\)", "\n".join(_prose(page))):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        assert not anchor or anchor in _anchors(target), f"{place}#{anchor}"


@EVERY_PAGE
def test_prose_fits_into_a_hundred_columns(page: Path) -> None:
    # A row of a table cannot be broken.
    assert [line for line in _prose(page) if len(line) > (110 if line.startswith("|") else 100)] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in PAGES if page.name != "README.md" and f"]({page.name})" not in index] == []
