"""Alembic runs this: revisions go through the connection and transaction of `emberbox.store.migrate`."""

from alembic import context

from emberbox.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
