"""Writes docs/cli.md from the command's own help; a test holds it to that."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import typer.main
from bench.reports.prose import wrapped

from emberbox.cli.app import ALIASES, make_app
from emberbox.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "docs/cli.md"
HEAD = """\
# The command `emberbox`

This page is the help of every command, as `emberbox COMMAND --help` shows it. Two to begin with:

```console
$ emberbox run hello.py             # run a script in a microVM of its own, here
$ emberbox submit hello.py --wait   # run it as a job on a server
```

This page is written by `python -m scripts.cli_reference` from the command's own help.
"""
TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}


def reference() -> str:
    """Return the page: the help of every command."""
    others = ", ".join(f"`{alias}` for `{name}`" for alias, name in ALIASES.items())
    parts = [f"{HEAD}\n{wrapped(f'Other names that are taken: {others}.')}\n"]
    for words in _commands((), typer.main.get_command(make_app())):
        title = " ".join(("emberbox", *words))
        parts.append(f"## `{title}`\n\n```text\n{_help(words)}\n```\n")
    return "\n".join(parts)


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all those below it that help shows."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        if child.hidden:
            continue
        yield from _commands((*words, name), child)


def _help(words: tuple[str, ...]) -> str:
    with mock.patch.dict(os.environ, TERMINAL), contextlib.redirect_stdout(io.StringIO()) as told:
        main([*words, "--help"])
    return told.getvalue().rstrip()


if __name__ == "__main__":
    TARGET.write_text(reference())
