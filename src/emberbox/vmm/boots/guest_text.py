"""Text that a guest wrote, made fit to be shown: it may hold anything, and what shows it obeys some of that.

A guest's console is hostile: escape sequences steer terminals, marks that turn the direction of
writing forge what is read, and lines have no end. Whoever shows it passes it through here.
"""

from __future__ import annotations

from emberbox import text as texts

WIDTH = 400
"""Characters of a line that are shown by `last_lines`."""


def escaped(text: str) -> str:
    r"""Return `text` with all unprintable characters but line feeds and tabs written out (`\x1b`).

    A carriage return ahead of a line feed, as serial consoles write it, is left out.
    """
    return texts.escaped(text.replace("\r\n", "\n"), lines=True)


def last_lines(text: str, count: int, width: int = WIDTH) -> list[str]:
    """Return the last `count` non-blank lines of a guest's text, escaped, each cut to `width`."""
    lines = [line.rstrip() for line in escaped(text[-4 * count * width :]).splitlines()]
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines if line][-count:]
