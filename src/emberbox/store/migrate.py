"""Brings a database to the schema of this release, whatever release it comes from.

A database without tables is made at once from `tables`; one of an earlier release goes through the
revisions in `migrations/` by Alembic, which is imported only then. Tests hold the two ways to the
same result.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from emberbox.errors import NoSpace, SchemaMismatch, StoreError
from emberbox.store.tables import metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_log = logging.getLogger(__name__)

REVISIONS = ("0001", "0004")
"""Every revision of the schema, oldest first; the last one is that of this release."""
FOLDER = Path(__file__).with_name("migrations")
WAIT_S = 300.0
"""How long another process that is bringing the same database forward is waited for, and how long
doing so may take."""
_LOCK = 0x656D6265
"""Number of PostgreSQL's advisory lock that one migration holds against all others."""


async def upgrade(url: str) -> None:
    """Create the tables, or bring those there forward. Nothing happens to a database that is up to date.

    One transaction does all of it: a database is of one release or of another, also after a kill.
    Processes that do this at the same time wait for each other. Safe to repeat; cancelled, it
    leaves the database as it was.

    Args:
        url: SQLAlchemy's URL with an asynchronous driver, as `database_url` makes it.

    Raises:
        SchemaMismatch: The database is of a later release, or holds tables of something else;
            nothing was changed.
        StoreError: It failed or could not be reached; nothing was changed.
        NoSpace: Its disk is full; nothing was changed.
    """
    async with _wrapped():
        _make_private(url)
        engine = _engine(url)
        try:
            async with asyncio.timeout(WAIT_S):
                await _upgrade(engine)
        finally:
            await engine.dispose()


async def _upgrade(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        if await connection.run_sync(stored_revision) == REVISIONS[-1]:
            return
        await connection.rollback()
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            connection = await connection.execution_options(emberbox_writes=True)
        async with connection.begin():
            if not sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            await connection.run_sync(_bring_forward)


def stored_revision(connection: Connection) -> str | None:
    """Return the revision of the database; None when it has none yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _bring_forward(connection: Connection) -> None:
    revision = stored_revision(connection)
    if revision == REVISIONS[-1]:
        return
    if revision is None:
        create(connection)
    elif revision in REVISIONS:
        run_revisions(connection)
    else:
        raise SchemaMismatch(
            f"the database is of a later release (schema {revision}, this one knows up to {REVISIONS[-1]}); "
            "start that release, or restore a backup from before the upgrade"
        )
    _log.info("schema is now %s", REVISIONS[-1], extra={"action": "store.migrated", "before": revision})


def create(connection: Connection) -> None:
    """Make the tables in an empty database. Raises `SchemaMismatch` when it is not."""
    if taken := sorted(set(inspect(connection).get_table_names()) & set(metadata.tables)):
        raise SchemaMismatch(
            f"the database holds tables that are not Emberbox's ({', '.join(taken[:3])}); "
            "let store.url name an empty one"
        )
    metadata.create_all(connection)
    connection.execute(
        text(
            "CREATE TABLE alembic_version "
            "(version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)"
        )
    )
    connection.execute(
        text("INSERT INTO alembic_version (version_num) VALUES (:revision)"), {"revision": REVISIONS[-1]}
    )


def run_revisions(connection: Connection, *, to: str = "head") -> None:
    """Run the revisions that follow the stored one, up to `to`, in the transaction that is open."""
    from alembic import command

    configuration = alembic_config()
    configuration.attributes["connection"] = connection
    command.upgrade(configuration, to)
    if (
        connection.dialect.name == "sqlite"
        and connection.execute(text("PRAGMA foreign_key_check")).first() is not None
    ):
        raise StoreError(
            "the database holds rows that belong to nothing; restore a backup from before the upgrade"
        )


def alembic_config() -> Any:
    """Return Alembic's configuration of our revisions."""
    from alembic.config import Config

    configuration = Config()
    configuration.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return configuration


def _make_private(url: str) -> None:
    """Create SQLite's file for its owner alone: keys' hashes and webhooks' secrets lie in it."""
    parts = make_url(url)
    if parts.get_backend_name() == "sqlite" and parts.database and parts.database != ":memory:":
        path = Path(parts.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(url: str) -> AsyncEngine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, poolclass=NullPool)
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"timeout": WAIT_S})

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        # A table that is made anew must not take the rows that refer to it along.
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = OFF")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        wanted = "IMMEDIATE" if connection.get_execution_options().get("emberbox_writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {wanted}")

    return engine


@asynccontextmanager
async def _wrapped() -> AsyncIterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StoreError(
            "the database is being brought forward by another process, or does not answer; try again"
        ) from error
    except (SQLAlchemyError, OSError) as error:
        detail = str(getattr(error, "orig", None) or error)
        if "disk is full" in detail or "No space left" in detail:
            raise NoSpace("the database's disk is full; free some space", detail=detail) from error
        raise StoreError(
            "the database cannot be used; is it running, and is store.url right?", detail=detail
        ) from error
