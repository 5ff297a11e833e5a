"""A VM that stops under whatever somebody waits for: the wait ends, and so does the VM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.config import Settings
from emberbox.sandbox import Process, Sandbox
from emberbox.testing.engine import HostEngine
from emberbox.vmm.base import MachineState
from tests.hung import BOUND_S, CASES, cut_bounds, ends, public_waits
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RUNTIMES = Path(__file__).parents[2] / "runtimes"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[HostEngine]:
    async with HostEngine(Settings(data=tmp_path / "data", runtimes=(RUNTIMES,))) as running:
        yield running


def test_each_public_wait_has_a_case() -> None:
    """A method that is added later must be shown to end when its VM stops."""
    assert {name.partition(" ")[0] for name in CASES} == public_waits(Sandbox) | public_waits(Process)


@pytest.mark.parametrize("name", CASES)
async def test_it_ends_with_the_vm(engine: HostEngine, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    runtime = "shell-compiled" if "compile" in name else "bash"
    async with engine.sandbox(runtime, timeout_s=5) as sandbox:
        cut_bounds(monkeypatch)
        sandbox._live.patience_s = BOUND_S
        pid = sandbox.pid

        def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

        async with asyncio.timeout(PATIENCE_S):
            await ends(name, sandbox, stop)
        await until(lambda: sandbox.state is not MachineState.RUNNING)
        assert sandbox.closed
