"""Lines of Markdown that are written by programs."""

from __future__ import annotations

import re
import textwrap

_GLUE = "\0"


def wrapped(text: str, *, first: str = "", indent: str = "") -> str:
    """Return prose in lines of at most 100 columns. What stands in backquotes is never broken.

    Args:
        text: Words; how they are spaced does not matter.
        first: What the first line begins with, such as `- `.
        indent: What the others begin with.
    """
    whole = re.sub(r"`[^`]+`", lambda code: code[0].replace(" ", _GLUE), " ".join(text.split()))
    lines = textwrap.fill(
        whole,
        100,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_GLUE, " ")


def item(text: str) -> str:
    """Return an entry of a list."""
    return wrapped(text, first="- ", indent="  ")
