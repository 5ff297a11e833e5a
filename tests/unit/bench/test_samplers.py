"""What can be measured without a VM: processes of the host, windows, copies."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from emberbox.bench.samplers.base import BenchError, time_process
from emberbox.bench.samplers.cold import copy_bytes
from emberbox.bench.samplers.command import start_up_times
from emberbox.bench.samplers.throughput import rates_of
from tests.patience import until


async def test_a_process_is_timed_from_start_to_end() -> None:
    begun = time.monotonic()
    elapsed_ms = await time_process(
        [sys.executable, "-c", "import time; time.sleep(0.1); print('hello world')"]
    )
    assert 100 <= elapsed_ms <= (time.monotonic() - begun) * 1000


async def test_the_starts_of_interpreter_and_imports_are_told_apart() -> None:
    times = await start_up_times(1)
    assert set(times) == {"interpreter_ms", "imports_ms"} and min(times.values()) > 0


@pytest.mark.parametrize("code", ["print('hello')", "print('hello world'); raise SystemExit(3)", ""])
async def test_another_output_or_exit_code_is_a_failure(code: str) -> None:
    with pytest.raises(BenchError):
        await time_process([sys.executable, "-c", code])


async def test_a_process_that_hangs_is_killed_with_its_children() -> None:
    with pytest.raises(BenchError, match="-9"):
        await time_process(["/bin/sh", "-c", "sleep 3600 & sleep 3600; exit"], timeout_s=0.3)


async def test_a_process_does_not_outlive_who_waits_for_it(tmp_path: Path) -> None:
    number = tmp_path / "pid"
    timing = asyncio.create_task(time_process(["/bin/sh", "-c", f"echo $$ > {number}; exec sleep 3600"]))
    await until(lambda: number.is_file() and number.read_text().endswith("\n"))
    timing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await timing
    await until(lambda: not Path(f"/proc/{number.read_text().strip()}").exists())


def test_ends_are_counted_in_their_windows() -> None:
    ends = [9.9, 10.0, 11.9, 12.0, 15.9, 16.0, 99.0]
    assert rates_of(ends, begun=10.0, window_s=2.0, windows=3) == [1.0, 0.5, 0.5]


def test_a_copy_has_the_same_bytes_and_can_be_read_by_all(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(range(256)) * 9000)
    copy_bytes(tmp_path / "image", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "image").read_bytes()
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o644
