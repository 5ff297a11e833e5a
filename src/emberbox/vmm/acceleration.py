"""Finding out whether this host runs virtual machines in hardware, by doing it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)

DEVICE = Path("/dev/kvm")
_PROBE_S = 3.0
_HARDWARE_US = 20_000.0
"""Hardware needs less than 1,000 µs; a busy host may take us off the CPU for a while; emulation took 300,000."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What machines run on.

    Args:
        name: `kvm` or `tcg`.
        reason: Why, for people.
    """

    name: str
    reason: str


def cpu_model() -> str:
    """Return the processor's name, which a snapshot under KVM depends on; the architecture's where it has none."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part")):
            return line.partition(":")[2].strip()
    return platform.machine()


async def probe_acceleration(
    cache: Path | None = None,
    *,
    device: Path = DEVICE,
    command: Sequence[str] | None = None,
    timeout_s: float = _PROBE_S,
) -> Acceleration:
    """Return `kvm` only if guest code really runs at the speed of hardware, else `tcg` with the reason.

    Never hangs and never raises for what KVM does.

    Args:
        cache: File in which the outcome is kept until the host is booted again or the device changes; None to probe always.
        device: KVM's device node.
        command: The probe program; None for ours.
        timeout_s: When the probe is given up and killed, in seconds.
    """
    obstacle = _obstacle(device)
    if obstacle is not None:
        return Acceleration("tcg", f"software emulation: {obstacle}")
    key = _key(device)
    known = None if cache is None else _read(cache, key)
    if known is not None:
        return known
    found = judge(*await _run(command or (sys.executable, "-I", "-S", str(_program())), device, timeout_s), timeout_s)
    if cache is not None:
        _write(cache, key, found)
    _log.info("acceleration probed: %s", found.reason, extra={"action": "vmm.probe", "accelerator": found.name})
    return found


def judge(code: int | None, output: bytes, timeout_s: float = _PROBE_S) -> Acceleration:
    """Turn what the probe program did into a verdict.

    Args:
        code: Its exit code; None when it was given up.
        output: What it printed.
        timeout_s: When it is given up, in seconds.
    """
    if code is None:
        return Acceleration("tcg", f"software emulation: KVM hung for {timeout_s:g} s over a test of a few instructions")
    try:
        report = json.loads(output)
        if "error" in report:
            return Acceleration("tcg", f"software emulation: KVM does not run guests here ({report['error']})")
        took = float(report["microseconds"])
    except (ValueError, TypeError, KeyError):
        return Acceleration("tcg", f"software emulation: the test of KVM ended with code {code}")
    if took > _HARDWARE_US:
        return Acceleration(
            "tcg", f"software emulation: KVM is itself emulated here (a test took {took / 1000:.0f} ms instead of below 1)"
        )
    return Acceleration("kvm", f"hardware virtualization: a test ran in {took:.0f} µs")


def _obstacle(device: Path) -> str | None:
    if not device.exists():
        return f"this host has no {device}"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be used by this user (join the group kvm)"
    if platform.machine() != "x86_64":
        return f"there is no test of KVM on {platform.machine()} yet"
    return None


async def _run(command: Sequence[str], device: Path, timeout_s: float) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command,
        str(device),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
        return process.returncode, output
    except TimeoutError:
        return None, b""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            # A process that KVM holds in the kernel does not even die: leave it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await process.wait()


def _program() -> Path:
    return Path(__file__).with_name("kvm_probe.py")


def _key(device: Path) -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    status = device.stat()
    return f"{boot} {status.st_rdev} {status.st_ctime_ns} {os.geteuid()}"


def _read(cache: Path, key: str) -> Acceleration | None:
    try:
        kept = json.loads(cache.read_text())
        return Acceleration(str(kept["name"]), str(kept["reason"])) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(cache: Path, key: str, found: Acceleration) -> None:
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        aside = cache.with_name(f"{cache.name}.{os.getpid()}")
        aside.write_text(json.dumps({"key": key, **asdict(found)}))
        aside.replace(cache)
