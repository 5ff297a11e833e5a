from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import InvalidPath
from emberbox.jobs.globs import parse_glob


def matches(pattern: str, path: str) -> bool:
    glob = parse_glob(pattern)
    if glob.folder == ".":
        return glob.matches(path)
    return path == glob.folder or (path.startswith(f"{glob.folder}/") and glob.matches(path.removeprefix(f"{glob.folder}/")))


YES = [
    ("a.txt", "a.txt"),
    ("*.txt", "a.txt"),
    ("*", ".hidden"),
    ("out", "out/deep/file"),
    ("out/*", "out/a"),
    ("out/**", "out/a"),
    ("out/**", "out/a/b/c"),
    ("**", "a"),
    ("**", "a/b"),
    ("**/*.txt", "a.txt"),
    ("**/*.txt", "a/b/c.txt"),
    ("a/**/b", "a/b"),
    ("a/**/b", "a/x/y/b"),
    ("a/**/**/b", "a/b"),
    ("?.t[xy]t", "a.txt"),
    ("[!a]", "b"),
    ("日本*", "日本語"),
    ("./a", "a"),
    ("a*/**", "ab/c"),
    ("*/*", "a/b"),
    ("**/x/**/y", "x/1/x/2/y"),
    ("[]]", "]"),
    ("[a", "[a"),
    ("*\udcff"[:1], "\udcff"),
]
NO = [
    ("*.txt", "a/b.txt"),
    ("*", "a/b"),
    ("a", "A"),
    ("out/*", "out/a/b"),
    ("out/**", "out2/a"),
    ("a*/**", "ab"),
    ("?", "ab"),
    ("[!a]", "a"),
    ("*/*", "a"),
    ("a/**/b", "a/xb"),
    ("**/x", "y"),
    ("a?b", "a/b"),
    ("a[/]b", "a/b"),
    ("out", "outer"),
]


@pytest.mark.parametrize(("pattern", "path"), YES)
def test_what_is_meant(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize(("pattern", "path"), NO)
def test_what_is_not(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a/../*", "**/../x", "a\0", "x" * 1025, "a/" * 600 + "*"])
def test_patterns_that_lead_out(pattern: str) -> None:
    with pytest.raises(InvalidPath):
        parse_glob(pattern)


def test_the_search_begins_as_deep_as_it_can() -> None:
    assert (parse_glob("a/b/*.txt").folder, parse_glob("a/b/*.txt").recursive) == ("a/b", False)
    assert (parse_glob("*/b").folder, parse_glob("*/b").recursive) == (".", True)
    assert (parse_glob("a/b").folder, parse_glob("a/b").parts) == ("a/b", ())
    assert parse_glob("a/**").recursive


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 100 + "b", "a" * 4000),
        ("**/a/" * 30 + "b", "a/" * 1000 + "c"),
        ("*" * 200 + "b", "a" * 4000),
        ("[a-z]*" * 40 + "!", "a" * 4000),
    ],
)
def test_hostile_names_take_no_time(pattern: str, path: str) -> None:
    begun = time.monotonic()
    assert not parse_glob(pattern).matches(path)
    assert time.monotonic() - begun < 2


@given(st.text("ab*?[]!-/.", max_size=20), st.text("ab/.", min_size=1, max_size=20))
def test_any_pattern_and_path_give_an_answer(pattern: str, path: str) -> None:
    try:
        glob = parse_glob(pattern)
    except InvalidPath:
        return
    assert glob.matches(path) in (True, False)
