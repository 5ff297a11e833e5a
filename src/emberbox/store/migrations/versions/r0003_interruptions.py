"""Attempts that were cut short by what is not their job's doing are counted apart from losses."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the count, 0 for jobs that are there."""
    count = sa.Column("interruptions", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("jobs", count)
