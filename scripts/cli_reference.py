"""Writes docs/cli.md from the command's own help; a test holds it to that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("run",),
    ("setup",),
    ("doctor",),
    ("runtimes",),
    ("images",),
    ("images", "list"),
    ("images", "build"),
    ("images", "inspect"),
    ("images", "verify"),
    ("images", "prune"),
    ("templates",),
    ("templates", "list"),
    ("templates", "prune"),
    ("bench",),
)
TARGET = Path(__file__).parents[1] / "docs/cli.md"


def reference() -> str:
    """Return the page: the help of every command."""
    parts = ["# The command `emberbox`\n\nWritten by `python scripts/cli_reference.py` from the command's own help.\n"]
    for words in COMMANDS:
        title = " ".join(("emberbox", *words))
        parts.append(f"## `{title}`\n\n```text\n{_help(words)}\n```\n")
    return "\n".join(parts)


def _help(words: tuple[str, ...]) -> str:
    code = "import sys; from emberbox.cli.main import main; sys.exit(main())"
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-c", code, *words, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.rstrip().replace("Usage: -c ", "Usage: emberbox ")


if __name__ == "__main__":
    TARGET.write_text(reference())
