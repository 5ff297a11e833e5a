"""What a live VMM is shut in by, as the kernel tells it from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts")
"""The namespaces that each VMM has for itself, whoever starts it."""
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")
_FILTERED = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What was seen of one VMM.

    Args:
        uid: Its user.
        shared: Which of `NAMESPACES` it shares with us; empty is as it should be, None when that
            may not be seen.
        capable: Whether it has any capability, or can come to one by what it starts.
        gains: Whether a set-uid program could give it rights.
        filtered: Whether the kernel filters its system calls.
        core_bytes: How long a dump of its memory may get; None for without bound.
        bounded: The controllers in whose hierarchies it has a control group of its own; `("",)` for
            that of version 2.
    """

    uid: int
    shared: tuple[str, ...] | None
    capable: bool
    gains: bool
    filtered: bool
    core_bytes: int | None
    bounded: tuple[str, ...]


def look_at(pid: int, name: str, proc: Path = Path("/proc")) -> Walls:
    """Look at the process `pid`. Raises `OSError` when it is gone.

    Args:
        pid: The VMM's.
        name: Its machine's id, which its control groups are named by.
        proc: Where the kernel tells about processes.
    """
    folder = proc / str(pid)
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
    status = {name: value.strip() for name, value in fields.items()}
    return Walls(
        uid=int(status["Uid"].split()[0]),
        shared=_shared(folder, proc / "self"),
        capable=any(int(status[name], 16) for name in _CAPABILITIES),
        gains=status.get("NoNewPrivs") != "1",
        filtered=status.get("Seccomp") == _FILTERED,
        core_bytes=_core_bytes((folder / "limits").read_text()),
        bounded=_bounded((folder / "cgroup").read_text(), name),
    )


def _shared(folder: Path, ours: Path) -> tuple[str, ...] | None:
    try:
        return tuple(
            kind
            for kind in NAMESPACES
            if (folder / "ns" / kind).readlink() == (ours / "ns" / kind).readlink()
        )
    except PermissionError:
        return None


def _core_bytes(limits: str) -> int | None:
    line = next((line for line in limits.splitlines() if line.startswith("Max core file size")), "")
    words = line.removeprefix("Max core file size").split()
    return int(words[0]) if words and words[0].isdecimal() else None


def _bounded(groups: str, name: str) -> tuple[str, ...]:
    found: list[str] = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if path.rpartition("/")[2] == name:
            found += controllers.split(",")
    return tuple(sorted(found))
