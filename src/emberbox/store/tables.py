"""The tables. One description for SQLite and PostgreSQL; `migrations/` brings a database to it.

Times are whole microseconds since the epoch, UTC, in columns that end in `_at`. Identifiers sort by
time (`emberbox.ids`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    desc,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = String(40)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Facts about this database itself."""

keys = Table(
    "keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("previous_hash", String(64), unique=True),
    Column("previous_until_at", BigInteger),
    Column("hint", String(16), nullable=False),
    Column("scopes", String(64), nullable=False),
    Column("quota", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
)
"""API keys. `hash` is SHA-256 of the whole key; `hint` its last characters; `quota` what differs
from the settings."""

contents = Table(
    "contents",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("entries", JSON, nullable=False),
    Column("data", LargeBinary),
    Column("blob_key", String(200)),
    Column("touched_at", BigInteger, nullable=False, index=True),
)
"""What was uploaded, once for each content: `file` is raw, `bundle` a tar. Small ones lie in
`data`, others under `blob_key`."""

scripts = Table(
    "scripts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("key_id", _ID, nullable=False),
    Column("name", String(255), nullable=False),
    Column("runtime", String(64), nullable=False),
    Column("entry", Text, nullable=False),
    Column("content_sha", String(64), ForeignKey("contents.sha256"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("file_count", Integer, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
    Index("ix_scripts_key_id_id", "key_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("key_id", _ID, nullable=False),
    Column("script_id", _ID, index=True),
    Column("rerun_of", _ID),
    Column("name", String(200)),
    Column("runtime", String(64), nullable=False),
    Column("entry", Text, nullable=False),
    Column("content_sha", String(64), ForeignKey("contents.sha256"), nullable=False, index=True),
    Column("files_sha", String(64), ForeignKey("contents.sha256"), index=True),
    Column("stdin_sha", String(64), ForeignKey("contents.sha256"), index=True),
    Column("spec", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("webhook", JSON(none_as_null=True)),
    Column("priority", Integer, nullable=False),
    Column("fair_order", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", String(32)),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("worker_id", _ID, index=True),
    Column("lease_until_at", BigInteger),
    Column("cancel_at", BigInteger),
    Column("available_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("claimed_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("metrics", JSON(none_as_null=True)),
    Column("stdout_bytes", BigInteger, nullable=False),
    Column("stderr_bytes", BigInteger, nullable=False),
    Column("storage_bytes", BigInteger, nullable=False),
    Index("ix_jobs_key_id_id", "key_id", "id"),
    Index("ix_jobs_queue", "status", desc("priority"), "fair_order", "id"),
    Index("ix_jobs_fairness", "key_id", "status", "priority", "fair_order"),
    Index(
        "ix_jobs_finished_at",
        "finished_at",
        sqlite_where=text("finished_at IS NOT NULL"),
        postgresql_where=text("finished_at IS NOT NULL"),
    ),
)
"""One run of a script or of inline code.

`spec` holds arguments, environment, limits and what to keep (`emberbox.store.records.JobSpec`).
`claimed_at`, `started_at` and `ended_at` are of the latest attempt: taken by a worker, program
begun, program ended; `finished_at` is when the terminal state was written. `available_at` holds a
job back that is to be tried again later.
"""

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("worker_id", _ID, nullable=False),
    Column("claimed_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("message", Text),
)
"""How each attempt of a job ended; the last one's outcome is the job's."""

results = Table(
    "results",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("log", LargeBinary),
    Column("log_key", String(200)),
    Column("log_bytes", BigInteger, nullable=False),
    Column("stdout", LargeBinary),
    Column("stderr", LargeBinary),
    Column("compile", JSON(none_as_null=True)),
    Column("compile_output", JSON(none_as_null=True)),
)
"""The log of a job that ended: in `log` when small, else under `log_key`.

Beside a log under `log_key` lie the beginnings of both streams. `compile` tells of the compile
stage, but for the compiler's output: that is `compile_output`, which goes with the log.
"""

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("blob_key", String(200), nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("job_id", _ID, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False, index=True),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("key_id", _ID, nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("events", JSON, nullable=False),
    Column("secret", String(128), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("key_id", _ID, nullable=False),
    Column("webhook_id", _ID, index=True),
    Column("job_id", _ID, index=True),
    Column("event", String(64), nullable=False),
    Column("lane", String(128), nullable=False),
    Column("url", Text, nullable=False),
    Column("secret", String(128), nullable=False),
    Column("payload", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("history", JSON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", BigInteger),
    Column("created_at", BigInteger, nullable=False, index=True),
    Column("finished_at", BigInteger),
    Index("ix_deliveries_status_next_at", "status", "next_at"),
    Index("ix_deliveries_key_id_id", "key_id", "id"),
)
"""News to be delivered, written in the transaction that makes it true. `status`: pending, delivered or dead.

`lane` names the destination: those of one lane wait for each other, not for others. `next_at` is
when the next attempt is due; while one is under way, when its lease ends. `secret` is empty for an
unsigned delivery, and for one of a webhook, which has it.
"""

usage = Table(
    "usage",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("jobs", BigInteger, nullable=False),
    Column("succeeded", BigInteger, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("run_s", Float, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("node", String(64), nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)
"""Workers that live, or died without a word. `node` names the data folder that a worker has for itself."""
