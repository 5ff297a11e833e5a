"""Writes the blocking client (client/_sync) from the asynchronous one; a test holds it to that.

Words are replaced, and the result is put into its form by ruff. What differs by more than a word is
in `client/waiting.py`.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "src/emberbox/client"
SOURCE, TARGET = CLIENT / "_async", CLIENT / "_sync"
HEADER = "# Written by scripts/sync_client.py from {}; change that instead.\n"
WORDS = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "_async": "_sync",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "async_call": "call",
    "async_sleep": "sleep",
    "asynccontextmanager": "contextmanager",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "asyncio": "sync",
}
GONE = ("async", "await")


def sync_source(path: Path) -> str:
    """Return the blocking form of a module of the asynchronous client."""
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    # From the end to the beginning, so that the places of what is still to be replaced stay true.
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        replaced = _replaced(token)
        if replaced is not None:
            row, column, end = token.start[0] - 1, token.start[1], token.end[1]
            rest = lines[row][end:]
            lines[row] = lines[row][:column] + replaced + (rest if replaced else rest.lstrip(" "))
    return _formatted(HEADER.format(f"_async/{path.name}") + "".join(lines), path.name)


def _replaced(token: tokenize.TokenInfo) -> str | None:
    """Return what stands for a token; None for itself."""
    if token.type != tokenize.NAME:
        return None
    if token.string in GONE:
        return ""
    if token.string in WORDS:
        return WORDS[token.string]
    if token.string == "AsyncGenerator":
        return "Generator"
    return (
        token.string.removeprefix("Async")
        if token.string.startswith("Async") and len(token.string) > 5
        else None
    )


def _formatted(text: str, name: str) -> str:
    where = str(TARGET / name)
    for command in (
        ["check", "--fix-only", "--unsafe-fixes", "--quiet", "--select", "C416,I,UP028"],
        ["format"],
    ):
        words = [sys.executable, "-m", "ruff", *command, "--stdin-filename", where, "-"]
        text = subprocess.run(words, input=text, capture_output=True, text=True, check=True).stdout
    return text


def modules() -> dict[str, str]:
    """Return the name and the text of every module of the blocking client."""
    return {path.name: sync_source(path) for path in sorted(SOURCE.glob("*.py"))}


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for source in SOURCE.glob("*.py"):
        # Imports are sorted by what is there.
        (TARGET / source.name).touch()
    written = modules()
    for name, text in written.items():
        (TARGET / name).write_text(text)
    for stale in TARGET.glob("*.py"):
        if stale.name not in written:
            stale.unlink()
