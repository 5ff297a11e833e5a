"""What a guest printed is shown as text, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.text import has_hidden
from emberbox.vmm.boots.guest_text import WIDTH, escaped, last_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, \u00e4\u20ac\n\tindented\n", "plain, \u00e4\u20ac\n\tindented\n"),
        ("a serial line\r\n", "a serial line\n"),
        ("overwritten\rby this", "overwritten\\x0dby this"),
        ("\x1b]0;title\x07\x1b[2J", "\\x1b]0;title\\x07\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\U000e0001tag", "\\U000e0001tag"),
        ("\u2028line", "\\u2028line"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_all_that_is_left_is_printable(text: str) -> None:
    shown = escaped(text)
    assert all(letter.isprintable() or letter in "\n\t\u200c\u200d" for letter in shown)
    assert not has_hidden(shown.replace("\n", "").replace("\t", ""))
    assert escaped(shown) == shown


def test_the_last_lines_are_bounded_in_number_and_length() -> None:
    text = "".join(f"line {number}\n" for number in range(1000)) + "\n  \n" + "x" * 1000 + "\n"
    lines = last_lines(text, 3)
    assert lines[:2] == ["line 998", "line 999"]
    assert len(lines[2]) == WIDTH
    assert lines[2].endswith("x…")
    assert last_lines("", 3) == []
    assert all(len(line) <= 20 for line in last_lines("\x1b" * 500, 5, width=20))
