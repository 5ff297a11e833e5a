"""What is to be run, and the row that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from emberbox.ids import new_id
from emberbox.service.jobs.sealed import opened_options, opened_webhook, sealed_columns
from emberbox.store.tables import jobs

if TYPE_CHECKING:
    from emberbox.service.secrets.vault import Vault
    from emberbox.store.records import JobRecord, JobSpec, KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """A job to be accepted: checked, its bytes stored, its secrets open. See `JobRecord` for the fields."""

    runtime: str
    entry: str
    content_sha: str
    files_sha: str | None = None
    stdin_sha: str | None = None
    spec: JobSpec
    labels: dict[str, str]
    webhook: dict[str, Any] | None = field(default=None, repr=False)
    priority: int = 0
    name: str | None = None
    script_id: str | None = None
    rerun_of: str | None = None

    @classmethod
    def again(cls, job: JobRecord, vault: Vault) -> Self:
        """Return the order for another run of `job`. Raises `SecretsUnavailable`: its secrets are lost."""
        same = {name: getattr(job, name) for name in _FIELDS if name != "rerun_of"}
        same["spec"] = replace(job.spec, options=opened_options(vault, job))
        same["webhook"] = opened_webhook(vault, job)
        return cls(**same, rerun_of=job.id)


_FIELDS = tuple(field.name for field in fields(JobOrder))
_COLUMNS = tuple(column.name for column in jobs.c)
_COUNTS = ("attempt", "failures", "losses", "stdout_bytes", "stderr_bytes", "storage_bytes")


def new_row(key: KeyRecord, order: JobOrder, now: int, vault: Vault) -> dict[str, Any]:
    """Return the row of a job that is about to wait, but for its place in the queue.

    Raises `SecretsUnavailable` when it has secrets that cannot be sealed.
    """
    job_id = new_id("job")
    return {
        **dict.fromkeys(_COLUMNS),
        **dict.fromkeys(_COUNTS, 0),
        **{name: getattr(order, name) for name in _FIELDS},
        **sealed_columns(vault, job_id, order.spec.options, order.webhook),
        "id": job_id,
        "key_id": key.id,
        "spec": order.spec.to_json(),
        "status": "queued",
        "available_at": now,
        "created_at": now,
    }
