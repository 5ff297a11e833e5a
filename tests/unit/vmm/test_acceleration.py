from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from emberbox.vmm.acceleration import Acceleration, judge, probe_acceleration

NULL = Path("/dev/null")


def program(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.mark.parametrize(
    ("code", "output", "name", "words"),
    [
        (0, b'{"microseconds": 212.5}', "kvm", "hardware"),
        (0, b'{"microseconds": 303000}', "tcg", "itself emulated"),
        (0, b'{"error": "Inappropriate ioctl for device"}', "tcg", "Inappropriate ioctl"),
        (-11, b"", "tcg", "ended with code -11"),
        (0, b"null", "tcg", "ended with code 0"),
        (0, b'{"microseconds": "x"}', "tcg", "ended with code 0"),
        (None, b"", "tcg", "hung"),
    ],
)
def test_the_verdict(code: int | None, output: bytes, name: str, words: str) -> None:
    found = judge(code, output)
    assert found.name == name
    assert words in found.reason


async def test_a_probe_that_hangs_is_given_up() -> None:
    begun = time.monotonic()
    found = await probe_acceleration(device=NULL, command=program("import time; time.sleep(60)"), timeout_s=0.5)
    assert time.monotonic() - begun < 5
    assert found.name == "tcg"
    assert "hung for 0.5 s" in found.reason


async def test_a_probe_that_ignores_its_end_is_given_up_too() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    found = await probe_acceleration(device=NULL, command=program(stubborn), timeout_s=0.5)
    assert found.name == "tcg"


async def test_our_own_probe_tells_why_a_device_is_not_kvm() -> None:
    found = await probe_acceleration(device=NULL)
    assert found.name == "tcg"
    assert "does not run guests" in found.reason


async def test_a_missing_device_is_told(tmp_path: Path) -> None:
    found = await probe_acceleration(device=tmp_path / "kvm")
    assert found == Acceleration("tcg", f"software emulation: this host has no {tmp_path / 'kvm'}")


async def test_the_outcome_is_kept_until_the_next_boot(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "acceleration.json"
    fast = program("print('{\"microseconds\": 100}')")
    assert (await probe_acceleration(cache, device=NULL, command=fast)).name == "kvm"
    broken = program("raise SystemExit(1)")
    assert (await probe_acceleration(cache, device=NULL, command=broken)).name == "kvm", "from the cache"
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "key": "another boot"}))
    assert (await probe_acceleration(cache, device=NULL, command=broken)).name == "tcg"
    cache.write_text("{")
    assert (await probe_acceleration(cache, device=NULL, command=fast)).name == "kvm"
