"""A peer's command line as others see it: that of the program that it stands for."""

from __future__ import annotations

import ctypes
from pathlib import Path

_ARG_START, _ARG_END = 45, 46
"""Fields 48 and 49 of /proc/PID/stat (proc(5)), counted from the one behind the name in parentheses."""


def take_title(words: list[str]) -> None:
    """Have /proc/self/cmdline begin with `words`, which must not be longer than what it holds now."""
    stat = Path("/proc/self/stat").read_bytes()
    fields = stat[stat.rindex(b")") + 2 :].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    title = b"".join(word.encode() + b"\0" for word in words)
    if start and len(title) <= end - start:
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)
