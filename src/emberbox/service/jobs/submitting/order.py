"""What is to be run, and the row that it becomes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self

from emberbox.ids import new_id
from emberbox.service.jobs.sealed import opened_options, opened_webhook, sealed_columns
from emberbox.store.tables import jobs

if TYPE_CHECKING:
    from emberbox.service.secrets.vault import Vault
    from emberbox.service.uploads.bundles import Plan
    from emberbox.store.records import JobRecord, JobSpec, KeyRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """A job to be accepted: checked, its secrets open; see `JobRecord` for the fields.

    `plans` are the contents that come with it: nothing of them is stored yet.
    """

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
    plans: tuple[Plan, ...] = ()

    @property
    def digests(self) -> list[str]:
        """The contents that the job refers to, once for each reference."""
        return [digest for digest in (self.content_sha, self.files_sha, self.stdin_sha) if digest is not None]

    @property
    def row_bytes(self) -> int:
        """How many bytes the job's own row takes of what the caller chose."""
        chosen = [self.spec.to_json(), self.labels, self.webhook, self.name, self.entry]
        return len(json.dumps(chosen, ensure_ascii=False).encode("utf-8", "replace"))

    @classmethod
    def again(cls, job: JobRecord, vault: Vault) -> Self:
        """Return the order for another run of `job`. Raises `SecretsUnavailable`: its secrets are lost."""
        same = {name: getattr(job, name) for name in _COPIED if name != "rerun_of"}
        same["spec"] = replace(job.spec, options=opened_options(vault, job))
        same["webhook"] = opened_webhook(vault, job)
        return cls(**same, rerun_of=job.id)


_COPIED = tuple(field.name for field in fields(JobOrder) if field.name != "plans")
_COLUMNS = tuple(column.name for column in jobs.c)
_COUNTS = (
    *("precedence", "input_bytes", "storage_bytes"),
    *("attempt", "failures", "losses", "interruptions", "stdout_bytes", "stderr_bytes"),
)


def new_row(key: KeyRecord, order: JobOrder, now: int, vault: Vault) -> dict[str, Any]:
    """Return the row of a job that is about to wait, but for its place in the queue and its bytes.

    Raises `SecretsUnavailable` when it has secrets that cannot be sealed.
    """
    job_id = new_id("job")
    return {
        **dict.fromkeys(_COLUMNS),
        **dict.fromkeys(_COUNTS, 0),
        **{name: getattr(order, name) for name in _COPIED},
        **sealed_columns(vault, job_id, order.spec.options, order.webhook),
        "id": job_id,
        "team_id": key.team_id,
        "key_id": key.id,
        "spec": order.spec.to_json(),
        "status": "queued",
        "available_at": now,
        "created_at": now,
    }
