"""What is to be run, and the row that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from emberbox.ids import new_id
from emberbox.store.tables import jobs

if TYPE_CHECKING:
    from emberbox.store.records import JobRecord, JobSpec, KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """A job to be accepted, checked and its bytes stored; see `JobRecord` for the fields."""

    runtime: str
    entry: str
    content_sha: str
    files_sha: str | None = None
    stdin_sha: str | None = None
    spec: JobSpec
    labels: dict[str, str]
    webhook: dict[str, Any] | None = None
    priority: int = 0
    name: str | None = None
    script_id: str | None = None
    rerun_of: str | None = None

    @classmethod
    def again(cls, job: JobRecord) -> Self:
        """Return the order for another run of `job`."""
        same = {name: getattr(job, name) for name in _FIELDS if name != "rerun_of"}
        return cls(**same, rerun_of=job.id)


_FIELDS = tuple(field.name for field in fields(JobOrder))
_COLUMNS = tuple(column.name for column in jobs.c)
_COUNTS = (
    "attempt",
    "failures",
    "losses",
    "interruptions",
    "stdout_bytes",
    "stderr_bytes",
    "storage_bytes",
)


def new_row(key: KeyRecord, order: JobOrder, now: int) -> dict[str, Any]:
    """Return the row of a job that is about to wait, but for its place in the queue."""
    return {
        **dict.fromkeys(_COLUMNS),
        **dict.fromkeys(_COUNTS, 0),
        **{name: getattr(order, name) for name in _FIELDS},
        "id": new_id("job"),
        "key_id": key.id,
        "spec": order.spec.to_json(),
        "status": "queued",
        "available_at": now,
        "created_at": now,
    }
