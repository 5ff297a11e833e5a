"""What an agent answers, checked: types, ranges, and what cannot be at the same time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.guest.frames import PROTOCOL, violation
from emberbox.model import FileEntry, GuestMetrics

if TYPE_CHECKING:
    from emberbox.guest.fields import Fields

MAX_PID = 2**22
_ERRNO = re.compile(r"E[A-Z0-9]{1,31}")
_REASONS = frozenset(
    {
        "exited",
        "signalled",
        "timed_out",
        "cpu_limit",
        "out_of_memory",
        "output_limit",
        "cancelled",
        "start_failed",
    }
)
_FILE_TYPES = frozenset({"file", "directory", "link", "other"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """Who answers in the guest. The HELLO leaves None what only `info` tells; `memory_total` is in bytes."""

    agent: str
    features: tuple[str, ...]
    protocol: int = PROTOCOL
    minor: int = 0
    kernel: str | None = None
    uptime_ms: int | None = None
    memory_total: int | None = None
    cpus: int | None = None


@dataclass(frozen=True, slots=True)
class PrepareResult:
    """Whether an interpreter waits now, and if not although asked for, why."""

    waiting: bool
    waiting_error: str | None


@dataclass(frozen=True, slots=True)
class TarSummary:
    """What a tar operation moved. `truncated` when a bound cut it short."""

    entries: int
    bytes: int
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOutcome:
    """How an exec ended, as the agent says; checked for what it can be, not for truth.

    Times in microseconds of the whole process group, sizes in bytes. `reason` is one of the
    protocol's words. `stdout_bytes` and `stderr_bytes` count all that was written, and are never
    less than what came. `stdout` and `stderr` are set by `GuestProcess.collect` alone. `waiting`
    tells whether a waiting interpreter took the run, `output` whether anything lies in the output
    folder.
    """

    reason: str
    exit_code: int | None
    signal: int | None
    message: str | None
    errno_name: str | None
    wall_us: int
    cpu_user_us: int
    cpu_system_us: int
    peak_memory_bytes: int
    stdout_bytes: int
    stderr_bytes: int
    pids_denied: int
    waiting: bool = False
    output: bool = False
    stdout: bytes = b""
    stderr: bytes = b""


def read_nothing(fields: Fields) -> None:
    """Read a RESULT that only says ok."""


def read_hello(fields: Fields) -> AgentInfo:
    """Read the agent's HELLO."""
    return AgentInfo(
        agent=fields.text("agent", limit=64),
        features=fields.tokens("features"),
        protocol=fields.integer("protocol"),
        minor=fields.integer("minor", high=2**31),
    )


def read_info(fields: Fields) -> AgentInfo:
    """Read the RESULT of `info`."""
    return AgentInfo(
        agent=fields.text("agent", limit=64),
        features=fields.tokens("features"),
        kernel=fields.text("kernel", limit=200),
        **fields.integers("uptime_ms", "memory_total"),
        cpus=fields.integer("cpus", low=1, high=4096),
    )


def read_prepare(fields: Fields) -> PrepareResult:
    """Read the RESULT of `prepare`."""
    return PrepareResult(fields.boolean("waiting"), fields.optional_text("waiting_error"))


def read_resume(fields: Fields) -> int:
    """Read the RESULT of `resume`: the guest's clock in ns."""
    return fields.integer("unix_ns")


def read_clock(fields: Fields) -> tuple[int, int]:
    """Read the RESULT of `clock`: the guest's clock in ns, before and after."""
    return fields.integer("before_unix_ns", low=-(2**63)), fields.integer("unix_ns")


def read_size(fields: Fields) -> int:
    """Read the RESULT of a transfer: its size in bytes."""
    return fields.integer("size")


def read_listing(fields: Fields) -> tuple[int, bool]:
    """Read the RESULT of `list`: how many entries were sent, and whether there are more."""
    return fields.integer("entries"), fields.boolean("truncated")


def read_entry(fields: Fields, name: str) -> FileEntry:
    """Read an entry of a folder, or the RESULT of `stat`, as the entry `name`."""
    return FileEntry(
        name=name,
        type=fields.choice("type", _FILE_TYPES),  # type: ignore[arg-type]
        size=fields.integer("size"),
        mode=fields.integer("mode", high=0o7777777),
        mtime_ns=fields.integer("mtime_ns", low=-(2**63)),
    )


def read_tar_in(fields: Fields) -> TarSummary:
    """Read the RESULT of `tar_in`."""
    return TarSummary(**fields.integers("entries", "bytes"))


def read_tar_out(fields: Fields) -> TarSummary:
    """Read the RESULT of `tar_out`."""
    return TarSummary(**fields.integers("entries", "bytes"), truncated=fields.boolean("truncated"))


def read_metrics(fields: Fields) -> GuestMetrics:
    """Read the RESULT of `metrics`."""
    return GuestMetrics(
        **fields.integers("uptime_ms", "cpu_user_ms", "cpu_system_ms"),
        **fields.integers("memory_total", "memory_available", "disk_total", "disk_used"),
        processes=fields.integer("processes", high=MAX_PID),
        load1=fields.number("load1", high=1e6),
    )


def read_outcome(fields: Fields, *, received: tuple[int, int], waiting: bool) -> ExecOutcome:
    """Read the RESULT of `exec`.

    Args:
        fields: The RESULT.
        received: Bytes of standard output and error that came.
        waiting: Whether a waiting interpreter took the run.
    """
    reason = fields.choice("reason", _REASONS)
    exit_code = fields.optional_integer("exit_code", high=255)
    signal = fields.optional_integer("signal", low=1, high=64)
    _check_ending(reason, exit_code, signal)
    return ExecOutcome(
        reason=reason,
        exit_code=exit_code,
        signal=signal,
        message=fields.optional_text("message"),
        errno_name=_errno_name(fields),
        **fields.integers("wall_us", "cpu_user_us", "cpu_system_us", "peak_memory_bytes", "pids_denied"),
        stdout_bytes=max(fields.integer("stdout_bytes"), received[0]),
        stderr_bytes=max(fields.integer("stderr_bytes"), received[1]),
        waiting=waiting,
        output=fields.boolean("output", default=False),
    )


def _check_ending(reason: str, exit_code: int | None, signal: int | None) -> None:
    wrong = (
        (exit_code is not None and signal is not None)
        or (reason == "exited" and exit_code is None)
        or (reason == "signalled" and signal is None)
        or (reason == "start_failed" and (exit_code, signal) != (None, None))
    )
    if wrong:
        raise violation("an exec whose reason, exit code and signal contradict each other")


def _errno_name(fields: Fields) -> str | None:
    name = fields.optional_text("errno_name", limit=32)
    return name if name is not None and _ERRNO.fullmatch(name) else None
