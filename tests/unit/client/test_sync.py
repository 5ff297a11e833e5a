"""The blocking client is the asynchronous one, rewritten."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import pytest

from emberbox.client import AsyncClient, Client

ROOT = Path(__file__).parents[3]


def test_it_is_up_to_date() -> None:
    made: dict[str, str] = runpy.run_path(str(ROOT / "scripts/sync_client.py"))["modules"]()
    there = {path.name: path.read_text() for path in (ROOT / "src/emberbox/client/_sync").glob("*.py")}
    assert there == made, "run: .venv/bin/python scripts/sync_client.py"


def test_nothing_of_it_is_asynchronous() -> None:
    for path in (ROOT / "src/emberbox/client/_sync").glob("*.py"):
        code = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
        assert not [
            word
            for word in ("await ", "async def", "async for", "async with", "Async", "asyncio")
            if word in code
        ], path


@pytest.mark.parametrize("part", [None, "jobs", "scripts", "keys", "webhooks"])
def test_both_have_the_same_names_and_arguments(part: str | None) -> None:
    ours, theirs = AsyncClient("http://x", "k"), Client("http://x", "k")
    first, second = (ours, theirs) if part is None else (getattr(ours, part), getattr(theirs, part))
    names = [name for name in dir(first) if not name.startswith("_")]
    assert names == [name for name in dir(second) if not name.startswith("_")]
    for name in names:
        if callable(getattr(first, name)):
            assert list(inspect.signature(getattr(first, name)).parameters) == list(
                inspect.signature(getattr(second, name)).parameters
            )
    theirs.close()
