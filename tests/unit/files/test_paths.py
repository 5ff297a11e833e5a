"""Paths that people and guests give."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import InvalidPath
from emberbox.files.paths import check_distinct, check_plain, clean_path, readable, stays_below


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
    "a\u202egnp.exe",
    "a\u200b",
    "\ufeffa",
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


@pytest.mark.parametrize(
    "paths", [["a", "a"], ["x/é", "x/e\u0301"], ["a", "a/b"], ["a/b/c", "a"], ["a/b", "a/b/c/d"]]
)
def test_paths_that_exclude_each_other(paths: list[str]) -> None:
    with pytest.raises(InvalidPath):
        check_distinct(paths)
    with pytest.raises(InvalidPath):
        check_distinct(reversed(paths))


def test_paths_that_do_not() -> None:
    check_distinct(["a", "A", "ab", "b/a", "b/ab", "ß", "ss", "ﬁ", "fi"])


@pytest.mark.parametrize("path", ["a", "a/b.c", "..a", " ", "日本/語", "a\\b", "x" * 255])
def test_a_plain_path_is_taken_as_it_is(path: str) -> None:
    check_plain(path)


@pytest.mark.parametrize("path", [*WRONG, "./a", "a/", "a//b", "a/./b", "a/" * 512 + "b"])
def test_what_is_no_plain_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        check_plain(path)


@pytest.mark.parametrize("path", ["a", "a/b", "...", "a\nb", "\udcff", "x" * 4096, "\udcff" * 4096])
def test_what_stays_below_its_folder(path: str) -> None:
    assert stays_below(path)


ELSEWHERE = ["", ".", "..", "/", "/a", "a/", "a//b", "./a", "a/..", "a/../b", "a\0b", "x" * 4097, "ä" * 2049]


@pytest.mark.parametrize("path", [*ELSEWHERE, "\ud800"])
def test_what_leads_elsewhere_or_can_be_no_path(path: str) -> None:
    assert not stays_below(path)


@given(st.text(max_size=60))
def test_clean_paths_stay_below(path: str) -> None:
    try:
        assert stays_below(clean_path(path))
    except InvalidPath:
        return


def test_text_of_a_guest_steers_no_terminal() -> None:
    assert readable("a\x1b[31m\n\x7f\x85\udcff ß 日本") == "a\\x1b[31m\\x0a\\x7f\\x85\\xff ß 日本"
    assert readable("a\u202egnp.exe\u200b") == "a\\u202egnp.exe\\u200b"
