"""Firecracker's answers to GET requests, read strictly: a taken-over VMM may answer anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emberbox.errors import VmmError

_STATES = ("Not started", "Running", "Paused")
_LARGEST_NUMBER = 2**64 - 1
_SHOWN = 80


def state_of(answer: object) -> str:
    """Return what the answer to GET / tells of the machine: "Not started", "Running" or "Paused".

    Raises `VmmError` for no such answer.
    """
    state = mapping("GET /", answer).get("state")
    if state not in _STATES:
        raise _wrong("state", state, " or ".join(_STATES))
    return str(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class BalloonStatistics:
    """The size of the balloon in MiB, and its guest's memory in bytes.

    None is what this release or this guest does not tell.
    """

    actual_mib: int
    free_memory: int | None = None
    available_memory: int | None = None

    @classmethod
    def parse(cls, answer: object) -> BalloonStatistics:
        """Read the answer to GET /balloon/statistics. Raises `VmmError`."""
        told = mapping("GET /balloon/statistics", answer)
        free, available = told.get("free_memory"), told.get("available_memory")
        return cls(
            actual_mib=number("actual_mib", told.get("actual_mib")),
            free_memory=None if free is None else number("free_memory", free),
            available_memory=None if available is None else number("available_memory", available),
        )


def mapping(request: str, answer: object) -> dict[str, Any]:
    """Return an answer that is a JSON object; raise `VmmError` for any other."""
    if not isinstance(answer, dict):
        raise _wrong(request, answer, "an object")
    return answer


def number(name: str, value: object) -> int:
    """Return a field that is a whole number of 64 bits; raise `VmmError` for any other."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise _wrong(name, value, "a whole number of 64 bits")
    return value


def _wrong(name: str, value: object, expected: str) -> VmmError:
    told = (
        repr(value)[:_SHOWN] if isinstance(value, str | int | float | bool | None) else type(value).__name__
    )
    return VmmError(
        f"Firecracker answered with {told} for {name}, where {expected} belongs; the machine is not trusted "
        "any more",
        detail=f"{name}: {told}",
    )
