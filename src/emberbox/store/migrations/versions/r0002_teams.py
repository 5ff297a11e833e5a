"""Teams: all that there is belongs to the first one.

That team gets no bounds: what keys had were bounds for each of them, and all of them together had
none. Who might manage all keys until now is an operator.
"""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FIRST = "team_00000000000000000000000000"
_UNBOUNDED = dict.fromkeys(
    ("requests_per_s", "burst", "concurrent_jobs", "queued_jobs", "storage_bytes", "cpu_s_day"), 0
)
_OWNED = ("keys", "scripts", "jobs", "webhooks", "deliveries", "usage")


def upgrade() -> None:
    """Make the teams, and give everything to the first one."""
    _make_teams()
    _drop_indexes()
    for table in _OWNED:
        op.add_column(
            table, sa.Column("team_id", sa.String(length=40), nullable=False, server_default=_FIRST)
        )
    op.add_column("keys", sa.Column("suspended_at", sa.BigInteger(), nullable=True))
    for table in _OWNED:
        _finish(table)
    _create_indexes()
    op.execute("UPDATE keys SET scopes = scopes || ' operator' WHERE scopes LIKE '%admin%'")


def _make_teams() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("quota", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teams")),
        sa.UniqueConstraint("name", name=op.f("uq_teams_name")),
    )
    now = time.time_ns() // 1000
    op.bulk_insert(teams, [{"id": _FIRST, "name": "main", "quota": _UNBOUNDED, "created_at": now}])


def _drop_indexes() -> None:
    # Those of jobs are made anew as a whole: SQLite copies the table, and which columns go
    # downwards, and which rows count, is not seen in it.
    for name in ("ix_jobs_key_id_id", "ix_jobs_fairness", "ix_jobs_queue", "ix_jobs_finished_at"):
        op.drop_index(name, table_name="jobs")
    op.drop_index("ix_scripts_key_id_id", table_name="scripts")
    op.drop_index("ix_deliveries_key_id_id", table_name="deliveries")
    op.drop_index("ix_webhooks_key_id", table_name="webhooks")


def _finish(table: str) -> None:
    """Take the default away again; on SQLite this copies the table."""
    with op.batch_alter_table(table) as batch:
        batch.alter_column("team_id", server_default=None)
        if table == "keys":
            batch.create_foreign_key(op.f("fk_keys_team_id"), "teams", ["team_id"], ["id"])
        if table == "deliveries":
            batch.drop_column("key_id")


def _create_indexes() -> None:
    finished = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_jobs_finished_at", "jobs", ["finished_at"], sqlite_where=finished, postgresql_where=finished
    )
    op.create_index("ix_jobs_queue", "jobs", ["status", sa.text("priority DESC"), "fair_order", "id"])
    op.create_index("ix_jobs_fairness", "jobs", ["team_id", "status", "priority", "fair_order"])
    op.create_index("ix_jobs_team_id_id", "jobs", ["team_id", "id"])
    op.create_index("ix_jobs_key_id_status", "jobs", ["key_id", "status"])
    op.create_index("ix_scripts_team_id_id", "scripts", ["team_id", "id"])
    op.create_index(op.f("ix_scripts_key_id"), "scripts", ["key_id"])
    op.create_index("ix_deliveries_team_id_id", "deliveries", ["team_id", "id"])
    op.create_index(op.f("ix_webhooks_team_id"), "webhooks", ["team_id"])
    op.create_index(op.f("ix_keys_team_id"), "keys", ["team_id"])
    op.create_index("ix_usage_team_id_day", "usage", ["team_id", "day"])
