"""VMs whose VMM is stopped, with all its clocks, under whatever somebody waits for.

`tests/integration/hung` holds every wait against the agent alone; these are those of each kind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.base import MachineState
from tests.hung import cut_bounds, ends
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from emberbox import Engine

KINDS = (
    "Sandbox.run",
    "Sandbox.outputs",
    "Sandbox.put_archive",
    "Sandbox.stream_file",
    "Process.output",
    "Process.cancel",
    "Process.collect",
    "Process.write_stdin",
)
LIMIT_S = 15.0
"""Enough for a program's first words on a busy machine, which the cases wait for."""
BEGIN_S = 30.0
"""Enough for its beginning."""


@pytest.mark.parametrize("name", KINDS)
async def test_a_stopped_vmm_ends_with_the_wait(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with engine.sandbox("bash", timeout_s=LIMIT_S) as sandbox:
        await sandbox.run("true", timeout_s=PATIENCE_S)
        pid, sandbox._live.patience_s = sandbox.pid, BEGIN_S

        def stop() -> None:
            cut_bounds(monkeypatch)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

        async with asyncio.timeout(PATIENCE_S):
            await ends(name, sandbox, stop)
        await until(lambda: sandbox.state is MachineState.KILLED)
        assert sandbox.closed
