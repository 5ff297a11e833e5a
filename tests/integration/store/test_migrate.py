"""The schema: made anew, or brought forward from every release, it is the same."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, TextClause, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from emberbox.errors import SchemaMismatch, StoreError
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.teams import Teams
from emberbox.store import Database, migrate
from emberbox.store.migrate import REVISIONS, alembic_config, stored_revision, upgrade
from emberbox.store.tables import FIRST_TEAM, metadata
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMAS = Path(__file__).parents[1] / "schemas"
RELEASES = sorted(path.name for path in SCHEMAS.iterdir() if path.is_dir())


async def _with(url: str, work: Callable[[Connection], Any]) -> Any:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    finally:
        await engine.dispose()


def _differences(connection: Connection) -> list[Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    # Of SQLite's indexes Alembic does not see which columns go downwards; `_shape` has the columns
    # of all indexes.
    downwards = {"ix_jobs_line"} if connection.dialect.name == "sqlite" else set()
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_name": lambda name, *_: name not in downwards,
    }
    context = MigrationContext.configure(connection, opts=options)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "autogenerate skipping metadata-specified expression-based index 'ix_jobs_line'"
        )
        found: list[Any] = compare_metadata(context, metadata)
    return found


def _shape(connection: Connection) -> dict[str, Any]:
    """All that the database itself says of its tables, without the order of columns."""
    inspector = inspect(connection)
    shape: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names()):
        shape[table] = {
            "columns": {
                c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)
            },
            "primary": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (f["constrained_columns"], f["referred_table"], f["options"].get("ondelete", ""))
                for f in inspector.get_foreign_keys(table)
            ),
            "unique": sorted(u["column_names"] for u in inspector.get_unique_constraints(table)),
            "indexes": sorted(
                (
                    str(i["name"]),
                    i["column_names"],
                    i["unique"],
                    sorted((k, str(v)) for k, v in i["dialect_options"].items()),
                )
                for i in inspector.get_indexes(table)
            ),
        }
    return shape


async def _run_revisions(url: str, *, to: str = "head") -> None:
    engine = migrate._engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(lambda c: migrate.run_revisions(c, to=to))
    finally:
        await engine.dispose()


def test_the_revisions_are_those_of_the_folder() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(alembic_config())
    assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == REVISIONS
    assert all(
        Path(script.path).name.startswith(f"r{script.revision}_") for script in scripts.walk_revisions()
    )


async def test_a_new_database_gets_the_tables(empty_database_url: str) -> None:
    await upgrade(empty_database_url)
    assert await _with(empty_database_url, stored_revision) == REVISIONS[-1]
    assert await _with(empty_database_url, _differences) == []
    await upgrade(empty_database_url)


async def test_the_revisions_lead_to_the_same_schema(empty_database_url: str, database_url: str) -> None:
    await _run_revisions(empty_database_url)
    assert await _with(empty_database_url, _differences) == []
    assert await _with(empty_database_url, _shape) == await _with(database_url, _shape)
    assert await _with(empty_database_url, stored_revision) == REVISIONS[-1]


async def test_a_difference_would_be_found(database_url: str) -> None:
    await _with(database_url, lambda c: c.execute(text("ALTER TABLE workers DROP COLUMN seen_at")))
    assert await _with(database_url, _differences)


@pytest.mark.parametrize("release", RELEASES)
async def test_each_released_schema_is_brought_forward(
    release: str, database_kind: str, empty_database_url: str, database_url: str
) -> None:
    await _with(empty_database_url, lambda c: _load(c, SCHEMAS / release / f"{database_kind}.sql"))
    before = await _with(empty_database_url, _rows)
    await upgrade(empty_database_url)
    assert await _with(empty_database_url, stored_revision) == REVISIONS[-1]
    assert await _with(empty_database_url, _shape) == await _with(database_url, _shape)
    after = await _with(empty_database_url, _rows)
    assert before
    assert {name: after[name] for name in before} == before


async def test_what_there_was_belongs_to_the_first_team(database_kind: str, empty_database_url: str) -> None:
    await _with(empty_database_url, lambda c: _load(c, SCHEMAS / "0.1.0" / f"{database_kind}.sql"))
    await _with(empty_database_url, lambda c: c.execute(text("UPDATE keys SET scopes = 'admin'")))
    await upgrade(empty_database_url)
    for table in ("keys", "scripts", "jobs", "webhooks", "deliveries", "usage"):
        query = text(f"SELECT team_id FROM {table}")  # noqa: S608
        owners = await _with(empty_database_url, partial(_column, query))
        assert owners == [FIRST_TEAM], table
    db = Database(empty_database_url)
    try:
        (key,), _ = await Keys(db).list()
        team = await Teams(db, lambda: None).get(FIRST_TEAM)
    finally:
        await db.close()
    assert "operator" in key.scopes
    assert key.suspended_at is None
    assert set(team.quota) == {
        *("requests_per_s", "burst", "concurrent_jobs", "queued_jobs", "storage_bytes", "cpu_s_day")
    }, "what bounded each key until now"
    assert not any(team.quota.values()), "all keys together had no bound before"


def _column(query: TextClause, connection: Connection) -> list[Any]:
    return list(connection.execute(query).scalars())


def _load(connection: Connection, file: Path) -> None:
    for statement in file.read_text().split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(
                statement.replace("%", "%%") if connection.dialect.name != "sqlite" else statement
            )


def _rows(connection: Connection) -> dict[str, int]:
    tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    counts = {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}  # noqa: S608
    return {name: count for name, count in counts.items() if count}


async def test_a_database_of_a_later_release_is_left_alone(database_url: str) -> None:
    await _with(database_url, lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(SchemaMismatch, match="later release"):
        await upgrade(database_url)
    assert await _with(database_url, stored_revision) == "9999"


async def test_tables_of_something_else_are_left_alone(empty_database_url: str) -> None:
    await _with(empty_database_url, lambda c: c.execute(text("CREATE TABLE jobs (id INTEGER)")))
    with pytest.raises(SchemaMismatch, match=r"not Emberbox's \(jobs\)"):
        await upgrade(empty_database_url)
    assert await _with(empty_database_url, lambda c: inspect(c).get_table_names()) == ["jobs"]


async def test_a_failure_leaves_nothing_half_done(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise OSError("the power went")

    monkeypatch.setattr(migrate, "create", break_off)
    with pytest.raises(StoreError, match="cannot be used"):
        await upgrade(empty_database_url)
    assert await _with(empty_database_url, lambda c: inspect(c).get_table_names()) == []


async def test_many_at_once_in_one_process(empty_database_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_database_url) for _ in range(5)))
    assert await _with(empty_database_url, _differences) == []


async def test_two_processes_at_once(empty_database_url: str) -> None:
    program = (
        "import asyncio, sys; from emberbox.store.migrate import upgrade; asyncio.run(upgrade(sys.argv[1]))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_database_url, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    assert await _with(empty_database_url, _differences) == []


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is it running"):
        await upgrade(f"postgresql+asyncpg://nobody@/nothing?host={tmp_path}")


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database at all, and quite long enough to be seen as such" * 20)
    with pytest.raises(StoreError, match=r"store\.url"):
        await upgrade(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    await upgrade(f"sqlite+aiosqlite:///{tmp_path / 'new/folder/x.db'}")
    assert (tmp_path / "new/folder/x.db").stat().st_mode & 0o777 == 0o600


async def test_an_up_to_date_database_costs_no_alembic_and_no_lock(
    database_url: str, tmp_path: Path, database_kind: str
) -> None:
    with contextlib.ExitStack() as stack:
        if database_kind == "sqlite":
            held = stack.enter_context(
                contextlib.closing(sqlite3.connect(tmp_path / "service.db", isolation_level=None))
            )
            held.execute("BEGIN IMMEDIATE")
        program = (
            "import asyncio, sys; from emberbox.store.migrate import upgrade; "
            "asyncio.run(upgrade(sys.argv[1])); "
            "sys.exit(any(name.partition('.')[0] == 'alembic' for name in sys.modules))"
        )
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def test_what_there_was_is_counted(database_kind: str, empty_database_url: str) -> None:
    """Each content counts once for its team and its key, however often they refer to it."""
    await _with(empty_database_url, lambda c: _load(c, SCHEMAS / "0.1.0" / f"{database_kind}.sql"))
    await upgrade(empty_database_url)

    async def total(query: str) -> int:
        return int(await _with(empty_database_url, lambda c: c.execute(text(query)).scalar_one() or 0))

    digests = " UNION ".join(
        f"SELECT {column} FROM {table}"  # noqa: S608
        for table, column in (
            *(("scripts", "content_sha"), ("jobs", "content_sha")),
            *(("jobs", "files_sha"), ("jobs", "stdin_sha")),
        )
    )
    contents = await total(f"SELECT sum(size) FROM contents WHERE sha256 IN ({digests})")  # noqa: S608
    rows = await total("SELECT sum(storage_bytes) FROM jobs")
    assert contents + rows > 0
    assert await total(f"SELECT bytes FROM holdings WHERE owner_id = '{FIRST_TEAM}'") == contents + rows  # noqa: S608
    references = await total("SELECT count(*) FROM scripts") + await total(
        "SELECT count(content_sha) + count(files_sha) + count(stdin_sha) FROM jobs"
    )
    query = f"SELECT sum(uses) FROM held_contents WHERE owner_id = '{FIRST_TEAM}'"  # noqa: S608
    assert await total(query) == references
