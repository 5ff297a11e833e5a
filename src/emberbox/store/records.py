"""Rows as plain values, for those who do not speak SQL."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

from emberbox.model import MIB, RunOptions

if TYPE_CHECKING:
    from collections.abc import Mapping


_USUAL = RunOptions(timeout_s=30.0, output_bytes=16 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What was asked of one run, besides its content.

    Args:
        options: How it is run; time limit and bound of output are always there.
        artifacts: Globs below the work folder of what is kept afterwards.
        retries: How often the run is repeated when the program fails or takes too long.
        interactive: Whether standard input stays open, to be fed through a WebSocket.
    """

    options: RunOptions = _USUAL
    artifacts: list[str] = field(default_factory=list)
    retries: int = 0
    interactive: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the column's value: the options and all else side by side."""
        return {**self.options.to_json(), **{name: getattr(self, name) for name in JOB_OPTIONS}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the spec of a column; names that a later release added are passed over."""
        own = {name: values[name] for name in JOB_OPTIONS if name in values}
        return cls(options=_USUAL.updated(values), **own)


JOB_OPTIONS = tuple(option.name for option in fields(JobSpec) if option.name != "options")
"""What is asked of a job besides what may be asked of any run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row as a plain value. Fields have the names of the columns that they are read from."""

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the record of a row, which may have more columns."""
        return cls(**{column.name: row[column.name] for column in fields(cls)})

    def to_row(self) -> dict[str, Any]:
        """Return the columns of the row, by name."""
        return {column.name: getattr(self, column.name) for column in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(Record):
    """A row of `jobs`; see there. Times are whole microseconds since the epoch."""

    id: str
    key_id: str
    script_id: str | None
    rerun_of: str | None
    name: str | None
    runtime: str
    entry: str
    content_sha: str
    files_sha: str | None
    stdin_sha: str | None
    spec: JobSpec
    labels: dict[str, str]
    webhook: dict[str, Any] | None
    priority: int
    fair_order: int
    status: str
    reason: str | None
    message: str | None
    exit_code: int | None
    signal: int | None
    attempt: int
    failures: int
    losses: int
    worker_id: str | None
    lease_until_at: int | None
    cancel_at: int | None
    available_at: int
    created_at: int
    claimed_at: int | None
    started_at: int | None
    ended_at: int | None
    finished_at: int | None
    metrics: dict[str, Any] | None
    stdout_bytes: int
    stderr_bytes: int
    storage_bytes: int
    sealed_env: dict[str, str] | None = None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the record of a row of the table."""
        return cls(**{**row, "spec": JobSpec.from_json(row["spec"])})

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRecord(Record):
    """A row of `scripts`."""

    id: str
    key_id: str
    name: str
    runtime: str
    entry: str
    content_sha: str
    size: int
    file_count: int
    labels: dict[str, str]
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentRecord(Record):
    """A row of `contents`. `entries` lists `{path, size, mode}`."""

    sha256: str
    kind: str
    size: int
    entries: list[dict[str, Any]]
    data: bytes | None
    blob_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord(Record):
    """A row of `keys`, without its hashes. `scopes` are those granted, with those that they imply."""

    id: str
    name: str
    hint: str
    scopes: frozenset[str]
    quota: dict[str, float]
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord(Record):
    """A row of `artifacts`."""

    id: str
    job_id: str
    path: str
    size: int
    sha256: str
    blob_key: str
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord(Record):
    """A row of `webhooks`, without its secret. Times are whole microseconds since the epoch."""

    id: str
    key_id: str
    url: str
    events: list[str]
    description: str
    active: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord(Record):
    """A row of `deliveries`, without its secret.

    `history` holds `{attempt, at, status, duration_ms, error, response}`.
    """

    id: str
    key_id: str
    webhook_id: str | None
    job_id: str | None
    event: str
    url: str
    payload: str
    status: str
    history: list[dict[str, Any]]
    attempt: int
    next_at: int | None
    created_at: int
    finished_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery(Record):
    """A delivery that this process may attempt until its lease ends.

    `attempt` counts this one; its outcome is written only while that number stands in the row.
    `secret` is sealed, as in the row.
    """

    id: str
    key_id: str
    webhook_id: str | None
    job_id: str | None
    event: str
    lane: str
    url: str
    secret: str
    payload: str
    attempt: int
    history: list[dict[str, Any]]
