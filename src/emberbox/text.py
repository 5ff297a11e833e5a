r"""Text that people read: which characters hide in it or steer who shows it, and how they are written out.

`report\u202efdp.exe` is shown as `reportexe.pdf`, and two names may differ by a character without width.
There is one answer for the whole of Emberbox:

- A *name that a caller gives* is refused when it has one of `HIDDEN`: names of scripts, jobs and keys,
  values of labels, descriptions of webhooks, paths of files. Joiners alone are taken where they join:
  between two characters beyond ASCII, as in Persian, Hindi and emoji of several parts.
- *Text that comes from elsewhere* is shown with them written out, as `escaped` returns it: paths and output
  of guests, lines of the log, whatever the command line prints.
"""

from __future__ import annotations

import re
from functools import cache

HIDDEN = (
    (0x00, 0x1F),  # controls: line ends, escapes
    (0x7F, 0x9F),
    (0xAD, 0xAD),  # a hyphen that is seen at the end of a line alone
    (0x34F, 0x34F),
    (0x600, 0x605),  # marks that embrace the digits behind them
    (0x61C, 0x61C),  # a mark of direction
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x115F, 0x1160),  # letters that show nothing
    (0x17B4, 0x17B5),
    (0x180E, 0x180E),
    (0x200B, 0x200B),  # without width
    (0x200E, 0x200F),  # marks of direction
    (0x2028, 0x202E),  # ends of line and paragraph; embedding and override of direction
    (0x2060, 0x206F),  # invisible operators; isolation of direction
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFEFF, 0xFEFF),  # the mark of byte order
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),  # annotations
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),  # tags, which spell out ASCII unseen
)
"""Ranges of characters that show nothing of themselves, or change how others are shown.

They are Unicode's categories Cc, Cf, Zl and Zp without the joiners, and the letters and marks that show
nothing. Variation selectors (U+FE00 to U+FE0F) are none of them: common emoji are written with one. The
table is written out, so that it is the same whatever Unicode the interpreter knows, and can stand in the
API's description.
"""


def _written(code: int) -> str:
    # What a pattern's escapes cannot name in all dialects stands for itself.
    return chr(code) if code > 0xFFFF else f"\\u{code:04x}"


_RANGES = "".join(
    _written(first) if first == last else f"{_written(first)}-{_written(last)}" for first, last in HIDDEN
)
_JOINER = "[\\u200c\\u200d]"
_JOINED = rf"[^\u0000-\u007f\u200c\u200d{_RANGES}]"
PLAIN_PATTERN = rf"^(?:[^\u200c\u200d{_RANGES}]|{_JOINED}(?:{_JOINER}{_JOINED})+)*$"
"""Matches text without `HIDDEN`, in the regular expressions of Python, of Pydantic and of JSON Schema."""
# Halves of characters, which no UTF-8 can hold, can stand in no pattern of Pydantic's, which refuses them.
_NEIGHBOUR = _JOINED.replace("^", "^\ud800-\udfff", 1)
_HALVES = re.compile("[\ud800-\udfff]")
_BLANKS = "\n\t"
_JOINERS = "\u200c\u200d"


@cache
def _hidden() -> re.Pattern[str]:
    # It takes a millisecond, which few commands need.
    halves = "\ud800-\udfff"
    return re.compile(rf"[{_RANGES}{halves}]|(?<!{_NEIGHBOUR}){_JOINER}|{_JOINER}(?!{_NEIGHBOUR})")


def has_hidden(text: str) -> bool:
    """Return whether a text has one of `HIDDEN`, or half of a character (a lone surrogate)."""
    return not text.isprintable() if text.isascii() else _hidden().search(text) is not None


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can hold the text: it has no half of a character (a lone surrogate)."""
    return _HALVES.search(text) is None


def escaped(text: str, *, lines: bool = False) -> str:
    r"""Return a text with what is hidden, or cannot be printed, written out: `\x1b`, `\u202e`.

    Args:
        text: May hold anything.
        lines: Whether line feeds and tabs stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    kept = _JOINERS + _BLANKS if lines else _JOINERS
    printable = "".join(one if one.isprintable() or one in kept else _code(one) for one in text)
    return _hidden().sub(
        lambda found: found[0] if lines and found[0] in _BLANKS else _code(found[0]), printable
    )


def escaped_json(text: str) -> str:
    """Return a JSON text that says the same, with what is hidden in its strings as JSON's own escapes.

    Args:
        text: As `json.dumps` writes it; between its strings are blanks and line feeds alone.
    """
    return text if text.isascii() and "\x7f" not in text else _hidden().sub(_json_escape, text)


def _json_escape(found: re.Match[str]) -> str:
    if found[0] == "\n":
        return found[0]
    units = found[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _code(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
