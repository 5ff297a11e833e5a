"""The tables. One description for SQLite and PostgreSQL; `migrations/` brings a database to it.

Times are whole microseconds since the epoch, UTC, in columns that end in `_at`. Identifiers sort by
time (`emberbox.ids`).
"""

from __future__ import annotations

from functools import partial

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
_needed = partial(Column, nullable=False)

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    _needed("value", Text),
)
"""Facts about this database itself."""

keys = Table(
    "keys",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("name", String(200)),
    _needed("hash", String(64), unique=True),
    Column("previous_hash", String(64), unique=True),
    Column("previous_until_at", BigInteger),
    _needed("hint", String(16)),
    _needed("scopes", String(64)),
    _needed("quota", JSON),
    _needed("created_at", BigInteger),
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
    _needed("kind", String(8)),
    _needed("size", BigInteger),
    _needed("entries", JSON),
    Column("data", LargeBinary),
    Column("blob_key", String(200)),
    _needed("touched_at", BigInteger, index=True),
)
"""What was uploaded, once for each content: `file` is raw, `bundle` a tar. Small ones lie in
`data`, others under `blob_key`."""

scripts = Table(
    "scripts",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("key_id", _ID),
    _needed("name", String(255)),
    _needed("runtime", String(64)),
    _needed("entry", Text),
    _needed("content_sha", String(64), ForeignKey("contents.sha256"), index=True),
    _needed("size", BigInteger),
    _needed("file_count", Integer),
    _needed("labels", JSON),
    _needed("created_at", BigInteger, index=True),
    Index("ix_scripts_key_id_id", "key_id", "id"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("key_id", _ID),
    Column("script_id", _ID, index=True),
    Column("rerun_of", _ID),
    Column("name", String(200)),
    _needed("runtime", String(64)),
    _needed("entry", Text),
    _needed("content_sha", String(64), ForeignKey("contents.sha256"), index=True),
    Column("files_sha", String(64), ForeignKey("contents.sha256"), index=True),
    Column("stdin_sha", String(64), ForeignKey("contents.sha256"), index=True),
    _needed("spec", JSON),
    _needed("labels", JSON),
    Column("webhook", JSON(none_as_null=True)),
    Column("sealed_env", JSON(none_as_null=True)),
    _needed("priority", Integer),
    _needed("fair_order", BigInteger),
    _needed("status", String(16)),
    Column("reason", String(32)),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("signal", Integer),
    _needed("attempt", Integer),
    _needed("failures", Integer),
    _needed("losses", Integer),
    Column("worker_id", _ID, index=True),
    Column("lease_until_at", BigInteger),
    Column("cancel_at", BigInteger),
    _needed("available_at", BigInteger),
    _needed("created_at", BigInteger),
    Column("claimed_at", BigInteger),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("metrics", JSON(none_as_null=True)),
    _needed("stdout_bytes", BigInteger),
    _needed("stderr_bytes", BigInteger),
    _needed("storage_bytes", BigInteger),
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
`sealed_env` holds its secret variables by name, each value sealed (`emberbox.service.secrets`), and so
is the secret in `webhook`; every table keeps secrets sealed.
`claimed_at`, `started_at` and `ended_at` are of the latest attempt: taken by a worker, program
begun, program ended; `finished_at` is when the terminal state was written. `available_at` holds a
job back that is to be tried again later.
"""

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    _needed("worker_id", _ID),
    _needed("claimed_at", BigInteger),
    _needed("ended_at", BigInteger),
    _needed("outcome", String(32)),
    Column("message", Text),
)
"""How each attempt of a job ended; the last one's outcome is the job's."""

results = Table(
    "results",
    metadata,
    Column("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    _needed("attempt", Integer),
    Column("log", LargeBinary),
    Column("log_key", String(200)),
    _needed("log_bytes", BigInteger),
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
    _needed("job_id", _ID, ForeignKey("jobs.id", ondelete="CASCADE"), index=True),
    _needed("path", Text),
    _needed("size", BigInteger),
    _needed("sha256", String(64)),
    _needed("blob_key", String(200)),
    _needed("created_at", BigInteger, index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key_id", _ID, primary_key=True),
    Column("idempotency_key", String(255), primary_key=True),
    _needed("request_hash", String(64)),
    _needed("job_id", _ID, index=True),
    _needed("created_at", BigInteger, index=True),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("key_id", _ID, index=True),
    _needed("url", Text),
    _needed("description", Text),
    _needed("events", JSON),
    _needed("secret", Text),
    _needed("active", Boolean),
    _needed("created_at", BigInteger),
    _needed("updated_at", BigInteger),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("key_id", _ID),
    Column("webhook_id", _ID, index=True),
    Column("job_id", _ID, index=True),
    _needed("event", String(64)),
    _needed("lane", String(128)),
    _needed("url", Text),
    _needed("secret", Text),
    _needed("payload", Text),
    _needed("status", String(16)),
    _needed("history", JSON),
    _needed("attempt", Integer),
    Column("next_at", BigInteger),
    _needed("created_at", BigInteger, index=True),
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
    _needed("jobs", BigInteger),
    _needed("succeeded", BigInteger),
    _needed("cpu_s", Float),
    _needed("run_s", Float),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    _needed("node", String(64)),
    _needed("concurrency", Integer),
    _needed("started_at", BigInteger),
    _needed("seen_at", BigInteger),
)
"""Workers that live, or died without a word. `node` names the data folder that a worker has for itself."""
