from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import InvalidPath
from emberbox.jobs.paths import check_distinct, clean_path


@pytest.mark.parametrize(
    ("given_path", "clean"),
    [
        ("a", "a"),
        ("./a", "a"),
        ("a//b/./c", "a/b/c"),
        ("a/", "a"),
        ("...", "..."),
        ("..a/b..", "..a/b.."),
        ("a\\b", "a\\b"),
        (" ", " "),
    ],
)
def test_a_path_has_one_form(given_path: str, clean: str) -> None:
    assert clean_path(given_path) == clean


WRONG = [
    "",
    ".",
    "./",
    "/",
    "/a",
    "..",
    "../a",
    "a/..",
    "a/../b",
    "a\0",
    "a\nb",
    "\x1b",
    "a\x7f",
    "a\x85",
    "\udcff",
    "x" * 256,
    "ä" * 128,
]


@pytest.mark.parametrize("path", [*WRONG, "a/" * 512 + "b"])
def test_what_is_no_path_below_a_folder_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath) as caught:
        clean_path(path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


@given(st.text(max_size=60))
def test_clean_paths_stay_below_their_folder(path: str) -> None:
    try:
        clean = clean_path(path)
    except InvalidPath:
        return
    assert clean_path(clean) == clean
    assert not clean.startswith("/")
    assert not {"", ".", ".."} & set(clean.split("/"))
    clean.encode()


@pytest.mark.parametrize("paths", [["a", "a"], ["x/é", "x/e\u0301"], ["a", "a/b"], ["a/b/c", "a"], ["a/b", "a/b/c/d"]])
def test_paths_that_exclude_each_other(paths: list[str]) -> None:
    with pytest.raises(InvalidPath):
        check_distinct(paths)
    with pytest.raises(InvalidPath):
        check_distinct(reversed(paths))


def test_paths_that_do_not() -> None:
    check_distinct(["a", "A", "ab", "b/a", "b/ab", "ß", "ss", "ﬁ", "fi"])
