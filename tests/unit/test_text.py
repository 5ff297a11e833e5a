"""What hides in text, and how it is written out."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from emberbox.schemas.base import LabelValue
from emberbox.text import HIDDEN, PLAIN_PATTERN, escaped, escaped_json, has_hidden, is_unicode

CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
HIDING = [
    *("\0", "\n", "\x1b", "\x85", "\xad"),
    *("\u200b", "\u200c", "\u202e", "\u2066", "\ufeff", "\U000e0041"),
]
PLAIN = [
    "",
    "name",
    "naïve – “quoted”",
    "日本語　名前",
    "שלום",
    "مرحبا",
    "❤️",
    "👍🏽",
    "👩‍💻",
    "می‌خواهم",
    "क्‍ष",
    "a b\u00a0c",
]


def test_all_of_unicodes_controls_and_formats_are_in_the_table() -> None:
    known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) in CATEGORIES]
    assert [character for character in known if not has_hidden(character)] == []


def test_the_table_is_sorted_and_without_overlaps() -> None:
    ends = [end for pair in HIDDEN for end in pair]
    assert ends == sorted(ends)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(HIDDEN))


@pytest.mark.parametrize("text", HIDING)
def test_what_hides_is_found_and_written_out(text: str) -> None:
    assert has_hidden(f"a{text}b")
    assert escaped(f"a{text}b").isascii()
    with pytest.raises(ValidationError):
        TypeAdapter(LabelValue).validate_python(f"a{text}b")


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_is_left_alone(text: str) -> None:
    assert not has_hidden(text)
    assert TypeAdapter(LabelValue).validate_python(text) == text
    assert escaped_json(json.dumps(text, ensure_ascii=False)) == json.dumps(text, ensure_ascii=False)


@pytest.mark.parametrize(
    "text", ["\u200dé", "é\u200d", "a\u200db", "é\u200d\u200dé", "é\u200d\u202eé", "é\u200da"]
)
def test_a_joiner_that_joins_nothing_hides(text: str) -> None:
    assert has_hidden(text)
    assert "\\u200d" in escaped(text)
    assert re.search(PLAIN_PATTERN, text) is None


SOME = st.text(st.characters() | st.sampled_from("\u200c\u200déa\u202e\ue000\n"), max_size=30)


@given(SOME)
def test_the_description_and_the_check_agree(text: str) -> None:
    if is_unicode(text) and not text.endswith("\n"):
        assert (re.search(PLAIN_PATTERN, text) is not None) == (not has_hidden(text))


@given(SOME)
def test_what_is_shown_steers_nothing(text: str) -> None:
    shown = escaped(text)
    assert re.sub("[\u200c\u200d]", "", shown).isprintable()
    assert not has_hidden(shown)
    kept = escaped(text, lines=True)
    assert re.sub("[\u200c\u200d\n\t]", "", kept).isprintable()
    assert (kept.count("\n"), kept.count("\t")) == (text.count("\n"), text.count("\t"))


@given(st.recursive(st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_says_the_same(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    assert json.loads(escaped_json(text)) == value
    assert not has_hidden(escaped_json(text).replace("\n", ""))


@given(st.text(st.characters(categories=["Cs", "L"]), max_size=9))
def test_halves_of_characters_are_no_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not is_unicode(text)
    else:
        assert is_unicode(text)
