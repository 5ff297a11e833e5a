"""Shows a guest's console on standard error while the program's own output goes on."""

from __future__ import annotations

import sys

from emberbox.cli.failures import printable, write_line

_MARK = "console | "
_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


def show_line(line: str) -> None:
    """Write one line of the console, marked as such, and dimmed on a terminal."""
    text = f"{_MARK}{printable(line)}"
    write_line(f"{_DIM}{text}{_PLAIN}" if sys.stderr.isatty() else text)
