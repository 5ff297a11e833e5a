"""Globs: what they mean, and that nothing hostile takes long."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import InvalidPath
from emberbox.files.globs import MAX_PARTS, GlobSet, parse_glob
from emberbox.files.paths import clean_path


def matches(pattern: str, path: str) -> bool:
    glob = parse_glob(pattern)
    if glob.folder == ".":
        return glob.matches(path)
    below = path.removeprefix(f"{glob.folder}/")
    return path == glob.folder or (below != path and glob.matches(below))


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


WRONG = ["", "/etc/*", "../*", "a/../*", "**/../x", "a\0", "x" * 1025, "a/" * 600 + "*"]


@pytest.mark.parametrize("pattern", WRONG)
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
    # What tries all ways takes years for these.
    assert not parse_glob(pattern).matches(path)


@given(st.text("ab*?[]!-/.", max_size=20), st.text("ab/.", min_size=1, max_size=20))
def test_any_pattern_and_path_give_an_answer(pattern: str, path: str) -> None:
    try:
        glob = parse_glob(pattern)
    except InvalidPath:
        return
    assert glob.matches(path) in (True, False)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("usr/share/doc", "usr/share/doc", True),
        ("usr/share/doc", "usr/share/doc/a/b", True),
        ("usr/share/doc", "usr/share/docs", False),
        ("dev/*", "dev", False),
        ("dev/*", "dev/null", True),
        ("usr/lib/python3*/**/test", "usr/lib/python3.11/test/x.py", True),
        ("usr/lib/python3*/**/test", "usr/lib/python3.11/unittest/test/x", True),
        ("usr/lib/python3*/**/test", "usr/lib/python3.11/unittest/test_x", False),
        ("usr/lib/python3.*/X", "usr/lib/python3a1/X", False),
        ("usr/*/x", "usr/a/b/x", False),
        ("a/[bc]?", "a/bz", True),
        ("a/[!bc]?", "a/bz", False),
        ("a/[!-b]?", "a/1z", True),
        ("a[!b]c", "a/c", False),
        ("[--]", "-", True),
        ("[a---]", "-", True),
        ("a/**", "a", False),
        ("a/**", "a/b/c", True),
        ("a+b(c)", "a+b(c)", True),
    ],
)
def test_a_set_covers_what_it_names_and_all_below(pattern: str, path: str, matches: bool) -> None:
    assert GlobSet([pattern]).covers(path) is matches
    assert GlobSet(["none/*", pattern, "else"]).covers(path) is matches


PATTERNS = st.text(alphabet="ab*?[]!/.+()\\^-", min_size=1, max_size=12) | st.lists(
    st.sampled_from(["**", "*", "a", "b", "a*", "?", "[ab]"]), min_size=1, max_size=5
).map("/".join)
PATHS = st.lists(st.text("ab", min_size=1, max_size=2), min_size=1, max_size=5)


def tried_all_ways(names: list[str], parts: list[str]) -> bool:
    """What a glob means, in the plainest words."""
    if not names or not parts:
        return not names and not parts
    if parts[0] == "**":
        deeper = tried_all_ways(names[1:], parts)
        return deeper or (bool(parts[1:]) and tried_all_ways(names, parts[1:])) or (parts[1:] == [])
    return fnmatchcase(names[0], parts[0]) and tried_all_ways(names[1:], parts[1:])


@given(st.lists(PATTERNS, min_size=1, max_size=3), PATHS)
def test_any_globs_mean_what_trying_all_ways_finds(patterns: list[str], names: list[str]) -> None:
    try:
        cleaned = [clean_path(pattern).split("/") for pattern in patterns]
        globs = GlobSet(patterns)
    except InvalidPath:
        return
    above = [names[: length + 1] for length in range(len(names))]
    covered = any(tried_all_ways(some, parts) for some in above for parts in cleaned)
    for _ in range(2):  # what is remembered changes nothing
        assert globs.covers("/".join(names)) is covered
    for glob, parts in zip(map(parse_glob, patterns), cleaned, strict=True):
        folder = [] if glob.folder == "." else glob.folder.split("/")
        if glob.parts and names[: len(folder)] == folder and names[len(folder) :]:
            assert glob.matches("/".join(names[len(folder) :])) is tried_all_ways(names, parts)


def test_a_set_takes_many_paths_and_patterns_quickly() -> None:
    globs = GlobSet([f"usr/share/{number}*/**/x?" for number in range(100)])
    begun = time.process_time()
    assert not any(globs.covers(f"usr/share/doc/p{number}/copyright") for number in range(20_000))
    assert globs.covers("usr/share/99-a/b/c/xy/below")
    assert time.process_time() - begun < 10


def test_patterns_have_few_parts_with_signs() -> None:
    assert matches("a/" * 100 + "*", "a/" * 100 + "b")
    assert parse_glob("*/" * (MAX_PARTS - 1) + "b")
    with pytest.raises(InvalidPath, match="64 parts"):
        parse_glob("*/" * MAX_PARTS + "b")


@pytest.mark.parametrize("pattern", WRONG)
def test_a_set_takes_no_pattern_that_leads_out(pattern: str) -> None:
    with pytest.raises(InvalidPath):
        GlobSet(["a", pattern])
