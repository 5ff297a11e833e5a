"""Shares: what each team and key stores is counted, and priorities order a team's own jobs alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_OWNERS = ("team_id", "key_id")
_REFERENCES = (
    *(("scripts", "content_sha"), ("jobs", "content_sha")),
    *(("jobs", "files_sha"), ("jobs", "stdin_sha")),
)
_INPUTS = """
    UPDATE jobs SET input_bytes = (
        SELECT coalesce(sum(contents.size), 0) FROM contents
        WHERE contents.sha256 IN (jobs.content_sha, jobs.files_sha, jobs.stdin_sha)
    )
"""
_HOLDINGS = """
    INSERT INTO holdings (owner_id, bytes)
    SELECT owner_id, sum(bytes) FROM (
        SELECT held_contents.owner_id AS owner_id, contents.size AS bytes
        FROM held_contents JOIN contents ON contents.sha256 = held_contents.sha256
        UNION ALL SELECT team_id, storage_bytes FROM jobs
        UNION ALL SELECT key_id, storage_bytes FROM jobs
    ) AS parts GROUP BY owner_id
"""
_BESIDE = """
    UPDATE jobs SET storage_bytes = storage_bytes + (
        SELECT coalesce(sum(coalesce(length(results.stdout), 0) + coalesce(length(results.stderr), 0)), 0)
        FROM results WHERE results.job_id = jobs.id
    )
"""


def upgrade() -> None:
    """Make the columns and tables, and fill them from what is there."""
    _make_tables()
    _change_jobs()
    op.execute(_INPUTS)
    op.execute(_BESIDE)
    for owner in _OWNERS:
        op.execute(_held(owner))
    op.execute(_HOLDINGS)


def _make_tables() -> None:
    op.create_table(
        "holdings",
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_holdings")),
    )
    op.create_table(
        "held_contents",
        sa.Column("owner_id", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "sha256", name=op.f("pk_held_contents")),
    )
    op.create_index("ix_held_contents_sha256", "held_contents", ["sha256"])


def _change_jobs() -> None:
    # Indexes are made anew as a whole: SQLite copies the table, and which columns go downwards, and
    # which rows count, is not seen in it.
    for name in ("ix_jobs_fairness", "ix_jobs_queue", "ix_jobs_finished_at"):
        op.drop_index(name, table_name="jobs")
    columns = (("precedence", sa.Integer()), ("input_bytes", sa.BigInteger()))
    for name, kind in columns:
        op.add_column("jobs", sa.Column(name, kind, nullable=False, server_default="0"))
    with op.batch_alter_table("jobs") as batch:
        for name, _ in columns:
            batch.alter_column(name, server_default=None)
    finished = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_jobs_finished_at", "jobs", ["finished_at"], sqlite_where=finished, postgresql_where=finished
    )
    turns = ["precedence", "fair_order", "input_bytes"]
    op.create_index("ix_jobs_queue", "jobs", ["status", *turns])
    op.create_index("ix_jobs_fairness", "jobs", ["team_id", "status", *turns])
    downwards = [sa.text("precedence DESC"), sa.text("priority DESC")]
    op.create_index("ix_jobs_line", "jobs", ["status", "team_id", *downwards, "id"])


def _held(owner: str) -> str:
    """Return the statement that counts what the teams, or the keys, refer to."""
    references = " UNION ALL ".join(
        f"SELECT {owner} AS owner_id, {column} AS sha256 FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
        for table, column in _REFERENCES
    )
    return (
        "INSERT INTO held_contents (owner_id, sha256, uses) "  # noqa: S608
        f"SELECT owner_id, sha256, count(*) FROM ({references}) AS parts GROUP BY owner_id, sha256"
    )
