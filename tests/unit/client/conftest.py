"""A server that is a function, and time that passes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from emberbox.client import AsyncClient
from emberbox.client._async import following, jobs, transport

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "ember_secret-of-the-tests"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the client made, none of which took any time."""
    made: list[float] = []

    async def pass_over(seconds: float) -> None:
        made.append(seconds)

    for module in (transport, jobs, following):
        monkeypatch.setattr(module, "async_sleep", pass_over)
    return made


@pytest.fixture
def connect(pauses: list[float]) -> Callable[..., AsyncClient]:
    """Make a client whose server is a function."""

    def make(handler: Callable[[httpx.Request], httpx.Response], **options: object) -> AsyncClient:
        return AsyncClient("http://127.0.0.1:1", KEY, network=httpx.MockTransport(handler), **options)  # type: ignore[arg-type]

    return make


def job_values(**changes: object) -> dict[str, object]:
    """A job as the server shows it."""
    return {
        "id": "job_01",
        "team_id": "team_01",
        "key_id": "key_01",
        "runtime": "python",
        "entry": "main.py",
        "status": "succeeded",
        "exit_code": 0,
        "attempt": 1,
        "priority": 0,
        "retries": 0,
        "args": [],
        "env_names": [],
        "labels": {},
        "network": "off",
        "interactive": False,
        "limits": {"timeout_s": 30.0, "output_bytes": 1000},
        "times": {"created_at": "2030-01-01T00:00:00Z"},
        **changes,
    }
