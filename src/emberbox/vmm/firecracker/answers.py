"""What Firecracker answers to GET requests, read strictly: a VMM that a guest has taken over may answer anything."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from emberbox.errors import VmmError

_STATES = ("Not started", "Running", "Paused")
_LONGEST_TEXT = 256
_LARGEST_NUMBER = 2**64 - 1
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """What the process says of itself; `state` is "Not started", "Running" or "Paused"."""

    id: str
    state: str
    vmm_version: str

    @classmethod
    def parse(cls, answer: object) -> InstanceInfo:
        """Read the answer to GET /. Raises `VmmError`."""
        told = mapping("GET /", answer)
        state = text("state", told.get("state"))
        if state not in _STATES:
            raise _wrong("state", state, " or ".join(_STATES))
        return cls(id=text("id", told.get("id")), state=state, vmm_version=text("vmm_version", told.get("vmm_version")))


@dataclass(frozen=True, slots=True, kw_only=True)
class BalloonStatistics:
    """The balloon (pages of 4 KiB, and MiB) and what the guest said of its memory (bytes, or counts since it started).

    None is what this release or this guest does not tell.
    """

    target_pages: int
    actual_pages: int
    target_mib: int
    actual_mib: int
    swap_in: int | None = None
    swap_out: int | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    free_memory: int | None = None
    total_memory: int | None = None
    available_memory: int | None = None
    disk_caches: int | None = None
    hugetlb_allocations: int | None = None
    hugetlb_failures: int | None = None
    oom_kill: int | None = None
    alloc_stall: int | None = None
    async_scan: int | None = None
    direct_scan: int | None = None
    async_reclaim: int | None = None
    direct_reclaim: int | None = None

    @classmethod
    def parse(cls, answer: object) -> BalloonStatistics:
        """Read the answer to GET /balloon/statistics. Raises `VmmError`."""
        told = mapping("GET /balloon/statistics", answer)
        needed = ("target_pages", "actual_pages", "target_mib", "actual_mib")
        names = [field.name for field in fields(cls) if field.name in needed or told.get(field.name) is not None]
        return cls(**{name: number(name, told.get(name)) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class BalloonHintingStatus:
    """The last commands of a hinting run; they are equal while it goes on. `guest_cmd` is None before the guest's first."""

    host_cmd: int
    guest_cmd: int | None

    @classmethod
    def parse(cls, answer: object) -> BalloonHintingStatus:
        """Read the answer to GET /balloon/hinting/status. Raises `VmmError`."""
        told = mapping("GET /balloon/hinting/status", answer)
        guest = told.get("guest_cmd")
        return cls(
            host_cmd=number("host_cmd", told.get("host_cmd")),
            guest_cmd=None if guest is None else number("guest_cmd", guest),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHotplugStatus:
    """The memory that can be plugged in, in MiB: `requested_size_mib` is asked for, `plugged_size_mib` is there."""

    total_size_mib: int
    slot_size_mib: int
    block_size_mib: int
    plugged_size_mib: int
    requested_size_mib: int

    @classmethod
    def parse(cls, answer: object) -> MemoryHotplugStatus:
        """Read the answer to GET /hotplug/memory. Raises `VmmError`."""
        told = mapping("GET /hotplug/memory", answer)
        return cls(**{field.name: number(field.name, told.get(field.name)) for field in fields(cls)})


def version_of(answer: object) -> str:
    """Read the answer to GET /version. Raises `VmmError`."""
    return text("firecracker_version", mapping("GET /version", answer).get("firecracker_version"))


def mapping(request: str, answer: object) -> dict[str, Any]:
    """Return an answer that is a JSON object; raise `VmmError` for any other."""
    if not isinstance(answer, dict):
        raise _wrong(request, answer, "an object")
    return answer


def text(name: str, value: object) -> str:
    """Return a field that is printable text of at most 256 characters; raise `VmmError` for any other."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_TEXT:
        raise _wrong(name, value, f"text of at most {_LONGEST_TEXT} characters")
    return value


def number(name: str, value: object) -> int:
    """Return a field that is a whole number of 64 bits; raise `VmmError` for any other."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise _wrong(name, value, "a whole number of 64 bits")
    return value


def _wrong(name: str, value: object, expected: str) -> VmmError:
    told = repr(value)[:_SHOWN] if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return VmmError(
        f"Firecracker answered with {told} for {name}, where {expected} belongs; the machine is not trusted any more",
        detail=f"{name}: {told}",
    )
