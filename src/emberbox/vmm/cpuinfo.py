"""What /proc/cpuinfo tells of the host's processor."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def first_value(*names: str, cpuinfo: Path = CPUINFO) -> str:
    """Return what the first line with one of these names says; empty where there is none, or no such file.

    Reads no further than that line: of a host with many processors the file is long, and slow to read.
    """
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            pairs = (line.partition(":") for line in lines)
            return next((value.strip() for name, _, value in pairs if name.strip() in names), "")
    except OSError:
        return ""
