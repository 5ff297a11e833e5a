"""Writes docs/cli.md from the command's own help; a test holds it to that."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import typer.main

from emberbox.cli.app import make_app
from emberbox.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "docs/cli.md"
TERMINAL = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}


def reference() -> str:
    """Return the page: the help of every command."""
    parts = ["# The command `emberbox`\n\nWritten by `python scripts/cli_reference.py` from the command's own help.\n"]
    for words in _commands((), typer.main.get_command(make_app())):
        title = " ".join(("emberbox", *words))
        parts.append(f"## `{title}`\n\n```text\n{_help(words)}\n```\n")
    return "\n".join(parts)


def _commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all those below it."""
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands((*words, name), child)


def _help(words: tuple[str, ...]) -> str:
    with mock.patch.dict(os.environ, TERMINAL), contextlib.redirect_stdout(io.StringIO()) as told:
        main([*words, "--help"])
    return told.getvalue().rstrip()


if __name__ == "__main__":
    TARGET.write_text(reference())
