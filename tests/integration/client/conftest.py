"""The client and the command against a served API.

The database does not matter to them: one kind is enough.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from emberbox.client import AsyncClient
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Served

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str


class Command(Protocol):
    """Runs a program to its end."""

    async def __call__(self, *words: str, stdin: bytes = b"", **variables: str) -> Done: ...


@pytest.fixture
def database_kind() -> str:
    return "sqlite"


@pytest.fixture
async def client(served: Served) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.url, served.secret) as connected:
        yield connected


@pytest.fixture
def environment(served: Served, tmp_path: Path) -> dict[str, str]:
    """The variables of a user who was told of the server."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("EMBERBOX", "XDG"))}
    found = {
        "EMBERBOX_SERVER": served.url,
        "EMBERBOX_API_KEY": served.secret,
        "EMBERBOX_DATA": str(tmp_path / "none"),
    }
    return {
        **clean,
        **found,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


@pytest.fixture
def emberbox(environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `emberbox …` as a process of its own, in an empty folder."""

    async def run(*words: str, stdin: bytes = b"", **variables: str) -> Done:
        return await run_program(
            sys.executable,
            "-m",
            "emberbox.cli.main",
            *words,
            stdin=stdin,
            cwd=tmp_path,
            env={**environment, **variables},
        )

    return run


async def run_program(*words: str, cwd: Path, env: dict[str, str], stdin: bytes = b"") -> Done:
    """Run a program beside the server, which lives in this process."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *words, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=env
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Done(process.returncode or 0, out.decode(), err.decode())
