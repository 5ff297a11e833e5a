"""What to type next, in the language that was just set up."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from emberbox.languages.examples import Examples

if TYPE_CHECKING:
    from emberbox.runtimes import Runtime

_LONGEST = 60
"""Characters of a program that is shown on the command line; a longer one is named by its file."""


def run_hint(runtime: Runtime) -> str:
    """Return a command that runs a program of a runtime: its own example where there is one."""
    command = ["emberbox", "run", "-r", runtime.name]
    if not runtime.takes_script:
        return shlex.join(command)
    example = Examples.of(runtime).path("hello")
    try:
        text = example.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return f"{shlex.join(command)} FILE"
    short = "\n" not in text and 0 < len(text) <= _LONGEST
    return shlex.join([*command, "-c", text] if short else [*command, str(example)])
