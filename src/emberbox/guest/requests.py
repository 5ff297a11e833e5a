"""What the host asks of an agent, as checked values."""

from __future__ import annotations

import base64
import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, InvalidPath
from emberbox.model import Limits, check_words

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_PATH_BYTES = 4_096


def path_fields(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the field that names `path` in a request: `path`, or `path_b64` where it is not UTF-8.

    Args:
        path: Relative to the work folder, or absolute. Surrogate escapes stand for bytes that are not UTF-8.

    Raises:
        InvalidPath: It is empty, too long, or holds NUL.
    """
    text = os.fspath(path)
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidPath("the path holds characters that no file name can have") from error
    if not raw or b"\0" in raw or len(raw) > MAX_PATH_BYTES:
        raise InvalidPath(f"a path in the sandbox has 1 to {MAX_PATH_BYTES} bytes and no NUL")
    try:
        return {"path": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path_b64": base64.b64encode(raw).decode("ascii")}


@dataclass(frozen=True, slots=True)
class InlineFile:
    """A file that travels inside an exec request. `mode` are its permission bits."""

    path: str
    data: bytes
    mode: int = 0o644

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the request."""
        return path_fields(self.path) | {
            "data": base64.b64encode(self.data).decode("ascii"),
            "mode": self.mode,
        }


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """How a waiting interpreter would run the same program: the script's path and its arguments."""

    script: str
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WaitingSpec:
    """The interpreter that shall wait in a template.

    Args:
        argv: How it is started.
        env: Added to the agent's base environment.
        preload: Modules that it imports ahead of time.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    preload: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the request."""
        return {"argv": self.argv, "env": dict(self.env), "preload": self.preload}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCommand:
    """A command that is started in a template, and held where it first touches its script.

    Args:
        argv: The command, the same as that of the runs that it is for.
        script: The file that it is held at, as the command names it.
        env: What those runs add to the agent's base environment.
        opened: Whether it opens the file long before it reads it, and is held at the reading.
        once: Whether no other is started when those of the template are used up.
    """

    argv: tuple[str, ...]
    script: str
    env: Mapping[str, str] = field(default_factory=dict)
    opened: bool = False
    once: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the request."""
        return {
            "argv": self.argv,
            "env": dict(self.env),
            "script": self.script,
            "opened": self.opened,
            "once": self.once,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecLimits:
    """Bounds of one exec, in the protocol's units. None means none.

    `wall_ms` and `cpu_ms` in milliseconds; `memory_bytes`, `file_bytes` (size of a written file),
    `stdout_keep`, `stderr_keep` (what is sent of a stream) and `output_max` (over both streams,
    then the run is killed) in bytes.
    """

    wall_ms: int | None = 30_000
    cpu_ms: int | None = None
    memory_bytes: int | None = None
    pids: int | None = 256
    open_files: int | None = 1024
    file_bytes: int | None = None
    stdout_keep: int | None = 1_048_576
    stderr_keep: int | None = 1_048_576
    output_max: int | None = 67_108_864

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low = 0 if name.endswith("_keep") else 1
            if value is not None and value < low:
                raise InvalidInput(f"the limit {name} must be at least {low} or None, not {value}")

    @classmethod
    def from_limits(cls, limits: Limits) -> ExecLimits:
        """Return the protocol's form of a run's limits."""
        return cls(
            wall_ms=_milliseconds(limits.timeout_s),
            cpu_ms=_milliseconds(limits.cpu_s),
            memory_bytes=None if limits.memory_mib is None else limits.memory_mib * 1024 * 1024,
            pids=limits.pids,
            open_files=limits.open_files,
            stdout_keep=limits.keep_bytes,
            stderr_keep=limits.keep_bytes,
            output_max=limits.output_bytes,
        )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, round(seconds * 1000))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    """A program to run.

    Args:
        argv: The program and its arguments; looked up in PATH.
        env: Added to the agent's base environment.
        cwd: Where it runs.
        user: None for the unprivileged user, `root`, or `uid:gid`.
        stdin: False gives it /dev/null.
        files: Written first.
        waiting: Lets a waiting interpreter take the run.
        limits: Its bounds.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/work"
    user: str | None = None
    stdin: bool = False
    files: tuple[InlineFile, ...] = ()
    waiting: WaitingRun | None = None
    limits: ExecLimits = field(default_factory=ExecLimits)

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise InvalidInput("argv must name a program")
        check_words(self.argv, self.env, self.cwd)

    def fields(self) -> dict[str, Any]:
        """Return the JSON object of the request."""
        return {
            "op": "exec",
            "argv": self.argv,
            "env": dict(self.env),
            "cwd": self.cwd,
            "user": self.user,
            "stdin": self.stdin,
            "files": [file.fields() for file in self.files],
            "waiting": None if self.waiting is None else asdict(self.waiting),
            "limits": asdict(self.limits),
        }
