"""Jobs: how they are asked for, and what is told of them."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AnyHttpUrl, Field, StringConstraints

from emberbox.schemas.base import (
    Answer,
    AnyText,
    Integer,
    Labels,
    Number,
    Request,
    Switch,
    Text,
    bounded,
    plain,
)


class JobStatus(StrEnum):
    """The states of a job. The last six are terminal: exactly one of them is reached, once."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    COMPILE_FAILED = "compile_failed"

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class Reason(StrEnum):
    """Why a job ended, where its status does not say all.

    Of a job that did not compile: why its compiler ended.
    """

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    CPU_LIMIT = "cpu_limit"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    START_FAILED = "start_failed"
    VM_DIED = "vm_died"
    INPUT_FAILED = "input_failed"
    """Its files could not be put into the VM, as when they do not fit."""
    REFUSED = "refused"
    """It cannot be run here: its runtime or image is gone or broken."""
    PACKAGES_FAILED = "packages_failed"
    """The packages that it brings along could not be installed; its log says what the tool said."""
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"


Word = Annotated[str, bounded(131_072)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00]+$")]


class EncodedFile(Request):
    """A file's content that is not text."""

    base64: AnyText


class JobWebhook(Request):
    """News of this one job. `secret` signs the deliveries; None leaves them unsigned."""

    url: AnyHttpUrl
    secret: Annotated[str, bounded(128, 8)] | None = None


class RunOptions(Request):
    """How a script or code is run."""

    name: Annotated[str, plain(200)] | None = None
    args: list[Word] = Field(default_factory=list, max_length=1000)
    stdin: AnyText | None = Field(default=None, description="What the program reads, as text.")
    stdin_base64: AnyText | None = Field(
        default=None, description="What the program reads, when it is not text."
    )
    interactive: Switch = Field(
        default=False, description="Leave standard input open, to be fed through the WebSocket."
    )
    env: dict[EnvName, Word] = Field(default_factory=dict, max_length=200)
    secret_env: dict[EnvName, Word] = Field(
        default_factory=dict, max_length=200, description="As `env`, stored encrypted. None that `env` has."
    )
    files: dict[FilePath, AnyText | EncodedFile] = Field(
        default_factory=dict, max_length=1000, description="Put into the work folder first."
    )
    artifacts: list[FilePath] = Field(
        default_factory=list, max_length=100, description="Globs of what is kept afterwards."
    )
    timeout_s: Number | None = Field(
        default=None, gt=0, le=86_400, description="Wall-clock limit; the runtime's default if null."
    )
    cpu_s: Number | None = Field(default=None, gt=0, le=86_400)
    memory_mib: Integer | None = Field(default=None, ge=64, le=1_048_576)
    vcpus: Integer | None = Field(default=None, ge=1, le=64)
    disk_mib: Integer | None = Field(default=None, ge=1, le=1_048_576)
    pids: Integer | None = Field(default=None, ge=1, le=100_000)
    output_bytes: Integer | None = Field(default=None, ge=1, le=1 << 40)
    network: Literal["off"] = "off"
    priority: Integer = Field(default=0, ge=-10, le=10, description="Higher ones start first.")
    retries: Integer = Field(
        default=0, ge=0, le=100, description="Repeat when the program fails or takes too long."
    )
    labels: Labels = Field(default_factory=dict)
    webhook: JobWebhook | None = None
    cold: Switch = Field(default=False, description="Boot the VM instead of cloning it.")


class SubmitJob(RunOptions):
    """A job of inline code."""

    runtime: Annotated[str, bounded(64, 1)]
    code: Text | None = Field(
        default=None, description="The script's text. Null when `files` holds it, and `entry` names it."
    )
    entry: FilePath | None = Field(default=None, description="The file to run, or the name that `code` gets.")


class JobTimes(Answer):
    """When each stage began; null while it has not. Of the latest attempt, but for `created_at`."""

    created_at: datetime
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    finished_at: datetime | None = None


class JobMetrics(Answer):
    """Where time and memory went.

    `wait_ms`: in the queue; `queue_ms`: for a VM slot; `boot_ms`: until the VM took requests.
    `run_ms`, `cpu_…` and `peak_memory_mib` are the program's own; `compile_ms` and `compile_cpu_ms`
    come before and besides them, and so does `packages_ms`: how long it took to install what the
    script brings along, or to find it installed.
    """

    wait_ms: float = 0.0
    queue_ms: float = 0.0
    boot_ms: float = 0.0
    run_ms: float = 0.0
    total_ms: float = 0.0
    cpu_user_ms: float = 0.0
    cpu_system_ms: float = 0.0
    peak_memory_mib: float = 0.0
    source: str = "clone"
    compile_ms: float = 0.0
    compile_cpu_ms: float = 0.0
    packages_ms: float = 0.0


class CompileReport(Answer):
    """The stage before a compiled program's run, which has limits of its own. Both streams are cut to 64 KiB.

    `reason`: `compiled`, `cached` (this key's programs of the same source are kept), `failed` (the
    compiler's verdict), `timed_out`, `cpu_limit`, `out_of_memory`, `output_limit`, `cancelled` or
    `vm_died`. `exit_code` is the compiler's. A cached program comes with what its compiler said
    when it ran. With its log, a job loses `stdout` and `stderr` here as well.
    """

    ok: bool
    reason: str
    cached: bool
    exit_code: int | None = None
    message: str | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    peak_memory_mib: float = 0.0


class JobLimits(Answer):
    """What the job may use; null means the runtime's default."""

    timeout_s: float
    cpu_s: float | None = None
    memory_mib: int | None = None
    vcpus: int | None = None
    disk_mib: int | None = None
    pids: int | None = None
    output_bytes: int


class Attempt(Answer):
    """How one attempt of a job ended."""

    attempt: int
    claimed_at: datetime
    ended_at: datetime
    outcome: str
    message: str | None = None


class Artifact(Answer):
    """A file that a job left behind. `media_type` is a guess from its name or content, and no promise."""

    id: str
    path: str
    size: int
    media_type: str | None = None
    sha256: str
    created_at: datetime


class Job(Answer):
    """A job. Lists leave out `stdout`, `stderr`, `compile`, `attempts` and `artifacts`."""

    id: str
    script_id: str | None = None
    rerun_of: str | None = None
    name: str | None = None
    runtime: str
    entry: str
    status: JobStatus
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempt: int
    priority: int
    retries: int
    args: list[str]
    env_names: list[str] = Field(description="Names alone: values may be secrets.")
    secret_env_names: list[str] = Field(default_factory=list, description="Those of `secret_env`.")
    labels: dict[str, str]
    network: str
    interactive: bool
    limits: JobLimits
    times: JobTimes
    metrics: JobMetrics | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout: str | None = Field(
        default=None, description="The beginning of standard output, at most 64 KiB. Null until the end."
    )
    stderr: str | None = Field(
        default=None, description="The beginning of standard error, at most 64 KiB. Null until the end."
    )
    stdout_truncated: bool | None = None
    stderr_truncated: bool | None = None
    compile: CompileReport | None = Field(
        default=None, description="Null where nothing is compiled, and until the end."
    )
    attempts: list[Attempt] | None = None
    artifacts: list[Artifact] | None = None

    @property
    def ok(self) -> bool:
        """Whether the program exited with code 0."""
        return self.status is JobStatus.SUCCEEDED


class LogEntry(Answer):
    """A piece of output.

    `id` is what `Last-Event-ID` takes; `data` is text, or base 64 where it was asked for.
    """

    id: str
    stream: Literal["stdout", "stderr"]
    time: datetime
    data: str


class LogPage(Answer):
    """A part of a job's log, in order.

    `next` is the `after` of the part that follows; None when the log is complete and read.
    """

    entries: list[LogEntry]
    next: str | None = None
    complete: bool


JSON = dict[str, Any]
