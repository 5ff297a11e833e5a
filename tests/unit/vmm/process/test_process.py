from __future__ import annotations

import os
import subprocess

import pytest

from emberbox.vmm.process.process import VmmProcess, reap, start_time


@pytest.mark.parametrize(
    ("code", "wrapped", "own_codes", "told"),
    [
        (0, True, (), 0),
        (3, True, (), 3),
        (137, True, (), -9),
        (148, True, (), -20),
        (148, True, {148}, 148),
        (148, False, (), 148),
    ],
)
async def test_a_wrapper_tells_a_signal_as_a_number_that_may_be_the_program_s_own(
    code: int, wrapped: bool, own_codes: set[int], told: int
) -> None:
    parent = subprocess.Popen(["/bin/sh", "-c", f"exit {code}"])
    assert await reap(parent, wrapped=wrapped, own_codes=own_codes) == told


async def test_a_process_is_killed_and_told_apart(sleeper: subprocess.Popen[bytes]) -> None:
    process = VmmProcess(sleeper.pid, sleeper, wrapped=False)
    assert start_time(sleeper.pid) != start_time(os.getpid())
    assert not process.ended
    await process.kill()
    await process.kill()
    assert process.ended
    assert await process.wait() == -9
    with pytest.raises(ProcessLookupError):
        VmmProcess(sleeper.pid, None, wrapped=False)
