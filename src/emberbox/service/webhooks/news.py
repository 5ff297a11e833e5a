"""News of jobs, put into the outbox in the transaction that makes them true."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, select

from emberbox.ids import new_id
from emberbox.store.database import now_us
from emberbox.store.tables import deliveries, webhooks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.store.records import JobRecord

PAYLOAD_VERSION = 1
ANY_END = "job.finished"
EVERYTHING = "*"
_MESSAGE_LENGTH = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def enqueue_for_job(connection: AsyncConnection, job: JobRecord) -> int:
    """Put the news that a job has ended into the outbox, for its own webhook and for those of its team.

    Args:
        connection: Of the transaction that writes the job's terminal state.
        job: The job as it is now: ended.

    Returns:
        How many deliveries were added; when there are any, the dispatcher should be woken after the commit.
    """
    event = f"job.{job.status}"
    targets: list[dict[str, str]] = [
        {"url": hook.url, "webhook_id": hook.id}
        for hook in await connection.execute(_HOOKS, {"whose": job.team_id})
        if wants(hook.events, event)
    ]
    if job.webhook is not None:
        targets.append({"url": job.webhook["url"], "secret": job.webhook.get("secret") or ""})
    if targets:
        data = _data(job)
        rows = [
            delivery_row(team_id=job.team_id, event=event, data=data, job_id=job.id, **target)
            for target in targets
        ]
        await connection.execute(insert(deliveries), rows)
    return len(targets)


_HOOKS = select(webhooks.c.id, webhooks.c.url, webhooks.c.events).where(
    webhooks.c.team_id == bindparam("whose"), webhooks.c.active.is_(True)
)


def wants(events: Iterable[str], event: str) -> bool:
    """Return whether a webhook with these subscriptions is told of the event."""
    wanted = set(events)
    return event in wanted or EVERYTHING in wanted or (ANY_END in wanted and event.startswith("job."))


def delivery_row(
    *,
    team_id: str,
    event: str,
    data: dict[str, Any],
    url: str,
    webhook_id: str | None = None,
    job_id: str | None = None,
    secret: str = "",
) -> dict[str, Any]:
    """Return a row of `deliveries` that is due at once.

    Args:
        team_id: Whose news it is.
        event: Such as `job.succeeded`.
        data: The payload's own part, JSON-ready.
        url: Where to.
        webhook_id: The webhook, whose URL and secret hold at the time of each attempt; None for a job's own.
        job_id: The job that the news is of, if any.
        secret: Signs the delivery of a job's own webhook; empty leaves it unsigned.
    """
    delivery_id, now = new_id("dlv"), now_us()
    payload = {
        "id": delivery_id,
        "version": PAYLOAD_VERSION,
        "event": event,
        "created_at": iso_time(now),
        "data": data,
    }
    return {
        "id": delivery_id,
        "team_id": team_id,
        "webhook_id": webhook_id,
        "job_id": job_id,
        "event": event,
        "lane": webhook_id or _lane(team_id, url),
        "url": url,
        "secret": secret,
        "payload": json.dumps(payload, separators=(",", ":")),
        "status": "pending",
        "history": [],
        "attempt": 0,
        "next_at": now,
        "created_at": now,
        "finished_at": None,
    }


def iso_time(time_us: int) -> str:
    """Return a time of the database as ISO 8601 in UTC, such as `2026-01-31T12:00:00.000000Z`."""
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _lane(team_id: str, url: str) -> str:
    # One lane for a team and a host: what another team does to the same host does not count.
    host = url.partition("://")[2].partition("/")[0].lower().encode()
    return f"{team_id}/{hashlib.sha256(host).hexdigest()[:32]}"


def _data(job: JobRecord) -> dict[str, Any]:
    times = {
        name: getattr(job, name)
        for name in ("created_at", "claimed_at", "started_at", "ended_at", "finished_at")
    }
    return {
        "job": {
            "id": job.id,
            "script_id": job.script_id,
            "rerun_of": job.rerun_of,
            "name": job.name,
            "runtime": job.runtime,
            "status": job.status,
            "reason": job.reason,
            "message": job.message and job.message[:_MESSAGE_LENGTH],
            "exit_code": job.exit_code,
            "signal": job.signal,
            "attempt": job.attempt,
            "labels": job.labels,
            "times": {name: None if at is None else iso_time(at) for name, at in times.items()},
            "metrics": job.metrics,
            "stdout_bytes": job.stdout_bytes,
            "stderr_bytes": job.stderr_bytes,
        }
    }
