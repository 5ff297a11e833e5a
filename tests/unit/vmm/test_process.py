from __future__ import annotations

import subprocess

import pytest

from emberbox.vmm.process import reap


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
