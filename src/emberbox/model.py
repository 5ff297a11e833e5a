"""The values that cross Emberbox's layers: what is asked of a sandbox and what comes back.

Plain frozen dataclasses: they cost nothing to import and check themselves.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict

from emberbox.bounds import OPTIONS, WORDS_BYTES
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MIB = 1024 * 1024


class RunStatus(StrEnum):
    """How a run ended. Exactly one holds."""

    SUCCEEDED = "succeeded"
    """Exited with code 0."""
    FAILED = "failed"
    """Exited with another code, or by itself through a signal."""
    TIMED_OUT = "timed_out"
    """Reached its wall-clock limit and was killed."""
    CPU_LIMIT = "cpu_limit"
    """Used up its CPU time and was killed."""
    OUT_OF_MEMORY = "out_of_memory"
    """Was killed for want of memory."""
    OUTPUT_LIMIT = "output_limit"
    """Wrote more than it may and was killed."""
    CANCELLED = "cancelled"
    """Was ended by its caller."""
    START_FAILED = "start_failed"
    """Could not be started: no such program, not executable."""
    VM_DIED = "vm_died"
    """The VM ended or stopped answering under the run."""
    COMPILE_FAILED = "compile_failed"
    """The compiler refused the source, or hit one of its own limits; the program was never started."""
    PACKAGES_FAILED = "packages_failed"
    """The packages that it asks for could not be installed; the program was never started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one run. None means no bound besides the VM's own size.

    Args:
        timeout_s: Wall-clock time in seconds.
        cpu_s: CPU time of all its processes together, in seconds.
        memory_mib: Memory of all its processes together, in MiB; None leaves all that the VM has
            but the agent's reserve.
        pids: Processes and threads alive at once.
        open_files: Descriptors for each process.
        keep_bytes: Bytes kept of each output stream; the rest is counted and flagged.
        output_bytes: Bytes over both output streams at which the run is killed.
    """

    timeout_s: float | None = 30.0
    cpu_s: float | None = None
    memory_mib: int | None = None
    pids: int | None = 256
    open_files: int | None = 1024
    keep_bytes: int | None = MIB
    output_bytes: int | None = 64 * MIB

    def __post_init__(self) -> None:
        _check_limits(self, (limit.name for limit in fields(self)))


def _check_limits(limits: object, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(limits, name)
        if value is not None and not value > 0:
            raise InvalidInput(f"the limit {name} must be above 0 or None, not {value}")


def check_words(argv: Iterable[str], env: Mapping[str, str], *more: str) -> None:
    """Raise `InvalidInput` for arguments, variables or further words that no program can be given."""
    if any("\0" in text for text in (*argv, *env, *env.values(), *more)):
        raise InvalidInput("arguments, variables and folders cannot hold NUL")
    if any(not name or "=" in name for name in env):
        raise InvalidInput("the name of an environment variable cannot be empty or hold '='")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a program is run, told once for every way in: library, API, SDK and command line.

    They map options by their fields. What a program consists of, such as code and packages, is no option.
    None leaves a value to whoever runs the program: the runtime's own, or the service's.

    Raises:
        InvalidInput: No program can be run so, on whatever runtime.
    """

    args: Sequence[str] = ()
    """Arguments of the script."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to the environment. May hold secrets: never logged, and names alone are shown."""
    secret_env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The same, and stored sealed, wherever it is stored; not one of `env`."""
    timeout_s: float | None = None
    """Wall-clock limit in seconds."""
    cpu_s: float | None = None
    """CPU time of all processes together, in seconds."""
    memory_mib: int | None = None
    """Memory of the VM in MiB."""
    vcpus: int | None = None
    """Virtual CPUs of the VM."""
    disk_mib: int | None = None
    """Bound of what may be written, in MiB of the VM's memory."""
    pids: int | None = None
    """Processes and threads alive at once."""
    output_bytes: int | None = None
    """Bytes over both output streams at which the program is killed."""
    network: str = "off"
    """What of the network is reached: `off` is nothing."""
    cold: bool = False
    """Whether the VM is booted instead of cloned."""

    def __post_init__(self) -> None:
        if isinstance(self.args, str):
            raise InvalidInput("args is a list of texts, not one text")
        object.__setattr__(self, "args", tuple(self.args))
        check_words(self.args, self.variables)
        if twice := self.env.keys() & self.secret_env.keys():
            raise InvalidInput(f"the variable {min(twice)!r} is in env and in secret_env; give it once")
        # The rest is for `check`: what a job was stored with stays readable.
        _check_limits(self, _OWN_LIMITS)
        if self.network != "off":
            raise InvalidInput(f"network is 'off', not {self.network!r}")

    @property
    def variables(self) -> dict[str, str]:
        """All that is added to the environment."""
        return {**self.env, **self.secret_env}

    @classmethod
    def of(cls, options: RunOptions | None, given: RunParameters, *, args: Sequence[str] = ()) -> RunOptions:
        """Return options with what a call was given besides; what is None or empty changes nothing.

        Raises:
            InvalidInput: No program can be run so.
            TypeError: There is no such option.
        """
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if args:
            changes["args"] = args
        return replace(options or cls(), **changes)

    def check(self) -> None:
        """Raise `InvalidInput` for what no VM and no agent can be given (see `emberbox.bounds`)."""
        for name, allowed in OPTIONS.items():
            allowed.check(name, getattr(self, name))
        words = json.dumps([self.args, self.variables], ensure_ascii=False, separators=(",", ":"))
        if len(words.encode("utf-8", "surrogatepass")) > WORDS_BYTES:
            raise InvalidInput(
                f"arguments and variables may have {WORDS_BYTES // 1024} KiB together; put more into a file"
            )

    def limits(self, usual: Limits) -> Limits:
        """Return the bounds of a run: these, and the usual ones where there is none here."""
        own: dict[str, Any] = {name: getattr(self, name) for name in _OWN_LIMITS}
        return replace(usual, **{name: value for name, value in own.items() if value is not None})

    def to_json(self) -> dict[str, Any]:
        """Return all options as JSON-ready values, but for `secret_env`, which nobody writes down so."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        del values["secret_env"]
        return {**values, "args": list(self.args), "env": dict(self.env)}

    def updated(self, values: Mapping[str, Any]) -> Self:
        """Return these options with values of `to_json`; names that are no options are passed over."""
        known = {option.name: values[option.name] for option in fields(self) if option.name in values}
        return replace(self, **known)


_OWN_LIMITS = ("timeout_s", "cpu_s", "pids", "output_bytes")
"""The options that bound a run, and no size of its VM."""


class RunParameters(TypedDict, total=False):
    """`RunOptions` as keywords of a call, which takes `args` elsewhere; None is as good as left out."""

    env: Mapping[str, str] | None
    secret_env: Mapping[str, str] | None
    timeout_s: float | None
    cpu_s: float | None
    memory_mib: int | None
    vcpus: int | None
    disk_mib: int | None
    pids: int | None
    output_bytes: int | None
    network: str | None
    cold: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """Where a run's time and memory went. Times in milliseconds of wall clock unless named otherwise.

    `queue_ms`: wait for a slot. `boot_ms`: from asking for a VM to a VM that takes requests (near 0
    from a pool). `run_ms`: the program, by the guest's clock. `total_ms`: from the call to the
    result. `source`: where the VM came from.
    """

    queue_ms: float = 0.0
    boot_ms: float = 0.0
    run_ms: float = 0.0
    total_ms: float = 0.0
    cpu_user_ms: float = 0.0
    cpu_system_ms: float = 0.0
    peak_memory_mib: float = 0.0
    source: Literal["pool", "clone", "cold", "sandbox"] = "sandbox"


def elapsed_ms(begun: float) -> float:
    """Return the milliseconds since `begun`, which `time.perf_counter` told."""
    return (time.perf_counter() - begun) * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileResult:
    """What became of the stage before a compiled program's run.

    Args:
        ok: Whether there is a program to run.
        reason: `compiled`, `cached`, `failed` (the verdict of the compiler), `timed_out`,
            `cpu_limit`, `out_of_memory`, `output_limit`, `cancelled` or `vm_died`.
        stdout_data: What was kept of the compiler's standard output.
        stderr_data: What was kept of its standard error.
        exit_code: The compiler's; None when a signal ended it, or nothing had to be compiled.
        stdout_bytes: All that it wrote.
        stderr_bytes: All that it wrote.
        wall_ms: How long it took, in milliseconds; for what was cached, to put the program in place.
        cpu_ms: CPU time in the guest.
        peak_memory_mib: Most memory that it used.
        message: Why there is no program, for people; None when there is one.
    """

    ok: bool
    reason: str
    stdout_data: bytes = b""
    stderr_data: bytes = b""
    exit_code: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    peak_memory_mib: float = 0.0
    message: str | None = None

    @property
    def cached(self) -> bool:
        """Whether the program came from the cache of compiled programs."""
        return self.reason == "cached"

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout_data.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stderr_data.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values, the streams as text."""
        return {
            "ok": self.ok,
            "reason": self.reason,
            "cached": self.cached,
            "exit_code": self.exit_code,
            "message": self.message,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "stdout_bytes": self.stdout_bytes,
            "stderr_bytes": self.stderr_bytes,
            "wall_ms": round(self.wall_ms, 3),
            "cpu_ms": round(self.cpu_ms, 3),
            "peak_memory_mib": round(self.peak_memory_mib, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagesResult:
    """What became of the packages that a script brought along.

    Args:
        ok: Whether they are there.
        reason: `installed`, `cached`, `failed` (the verdict of the tool), `timed_out`,
            `too_large`, `refused` (what was installed cannot be taken over) or `vm_died`.
        tool: The name of the tool, such as `pip`.
        wall_ms: How long it took, in milliseconds; for what was cached, to find it.
        output_data: The last of what the tool printed; of what was cached, what it printed then.
        downloaded_bytes: What came through the proxy.
        message: Why they are not there, for people; None when they are.
    """

    ok: bool
    reason: str
    tool: str
    wall_ms: float = 0.0
    output_data: bytes = b""
    downloaded_bytes: int = 0
    message: str | None = None

    @property
    def cached(self) -> bool:
        """Whether they were installed before."""
        return self.reason == "cached"

    @property
    def output(self) -> str:
        """The tool's output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.output_data.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {
            "ok": self.ok,
            "reason": self.reason,
            "cached": self.cached,
            "tool": self.tool,
            "wall_ms": round(self.wall_ms, 3),
            "output": self.output,
            "downloaded_bytes": self.downloaded_bytes,
            "message": self.message,
        }


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file that a program left in its output folder.

    Args:
        name: Its path below the folder; control characters and the like are written as numbers.
        data: Its content.
    """

    name: str
    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)

    @property
    def media_type(self) -> str:
        """What its name, or else its beginning, speaks of, such as `image/png`; a hint and no promise."""
        from emberbox.media_types import media_type

        return media_type(self.name, self.data)

    @property
    def text(self) -> str:
        """Its content as text; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode("utf-8", "replace")

    def to_dict(self) -> dict[str, Any]:
        """Return what is known of it, without its content, as JSON-ready values."""
        return {"name": self.name, "size": self.size, "media_type": self.media_type}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What became of one run.

    `stdout` and `stderr` hold the bytes that were kept; `stdout_bytes` and `stderr_bytes` count all
    that was written. `exit_code` and `signal` are None when they do not apply. `message` says why
    the run ended when it did not simply exit. `compile` tells of the stage before the run; None
    where the language has none. `packages` tells of those that the script brought along; None where
    it brought none. `left_files` tells whether anything lay in the output folder at its end;
    `files` is what was fetched of that (by `Engine.run`; elsewhere see `Sandbox.outputs`),
    `file_notes` say what of it was left out.
    """

    status: RunStatus
    stdout_data: bytes = b""
    stderr_data: bytes = b""
    exit_code: int | None = None
    signal: int | None = None
    message: str | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    metrics: RunMetrics = field(default_factory=RunMetrics)
    compile: CompileResult | None = None
    packages: PackagesResult | None = None
    left_files: bool = False
    files: tuple[OutputFile, ...] = ()
    file_notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the program exited with code 0."""
        return self.status is RunStatus.SUCCEEDED

    @property
    def stdout(self) -> str:
        """Standard output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout_data.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stderr_data.decode("utf-8", "replace")

    @property
    def stdout_truncated(self) -> bool:
        """Whether more was written to standard output than was kept."""
        return self.stdout_bytes > len(self.stdout_data)

    @property
    def stderr_truncated(self) -> bool:
        """Whether more was written to standard error than was kept."""
        return self.stderr_bytes > len(self.stderr_data)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values, the streams as text."""
        return {
            "status": self.status.value,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "message": self.message,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "stdout_bytes": self.stdout_bytes,
            "stderr_bytes": self.stderr_bytes,
            "stdout_truncated": self.stdout_truncated,
            "stderr_truncated": self.stderr_truncated,
            "metrics": {
                k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self.metrics).items()
            },
            "compile": None if self.compile is None else self.compile.to_dict(),
            "packages": None if self.packages is None else self.packages.to_dict(),
            "left_files": self.left_files,
            "files": [file.to_dict() for file in self.files],
            "file_notes": list(self.file_notes),
        }


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of a running program's output, in the order in which it arrived."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One entry of a listed folder.

    `name` is relative to the folder; names that are not UTF-8 carry surrogate escapes.
    """

    name: str
    type: Literal["file", "directory", "link", "other"]
    size: int
    mode: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestMetrics:
    """A guest's own count of itself: times in ms since its boot, memory and disk in bytes."""

    uptime_ms: int
    cpu_user_ms: int
    cpu_system_ms: int
    memory_total: int
    memory_available: int
    disk_total: int
    disk_used: int
    processes: int
    load1: float
