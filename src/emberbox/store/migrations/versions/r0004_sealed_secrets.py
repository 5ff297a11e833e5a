"""Secrets are sealed: room for sealed texts, and for jobs' secret variables.

What lies there in the clear is sealed by the first service that starts, which has the key.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    before = sa.String(length=128)
    for table in ("webhooks", "deliveries"):
        with op.batch_alter_table(table) as batch:
            batch.alter_column("secret", existing_type=before, type_=sa.Text(), existing_nullable=False)
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("sealed_env", sa.JSON(none_as_null=True), nullable=True))
