"""Programs run in the guests of drivers' machines, without an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.guest.requests import ExecRequest
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox.guest import GuestClient

EXEC_S = PATIENCE_S


async def execute(client: GuestClient, *argv: str, timeout_s: float = EXEC_S) -> str:
    """Run a program as the guest's root; returns what it wrote. Fails the test when it fails."""
    process = await client.start(ExecRequest(argv=argv, cwd="/", user="root"))
    outcome = await process.collect(keep_stdout=65_536, keep_stderr=65_536, timeout_s=timeout_s)
    assert outcome.exit_code == 0, (argv, outcome)
    return outcome.stdout.decode()
