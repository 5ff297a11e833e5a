"""Contents, scripts and artifacts on both databases, with blobs in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, insert, select

from emberbox.config import Settings
from emberbox.ids import new_id
from emberbox.runtimes import RuntimeCatalog, builtin_folder, discover
from emberbox.store.records import JobRecord, JobSpec
from emberbox.store.tables import jobs
from emberbox.testing import MemoryBlobs
from tests.accounts import key_record
from tests.storing import StoredContents, scripts_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy import Table

    from emberbox.service.uploads.scripts import Scripts
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


@pytest.fixture
def contents(database: Database, blobs: MemoryBlobs) -> StoredContents:
    return StoredContents(database, blobs)


@pytest.fixture(scope="session")
def runtimes() -> RuntimeCatalog:
    return discover([builtin_folder()])


@pytest.fixture
def scripts(database: Database, contents: StoredContents, runtimes: RuntimeCatalog) -> Scripts:
    return scripts_of(database, contents, runtimes)


@pytest.fixture
def key() -> KeyRecord:
    return key_record(id=new_id("key"))


@pytest.fixture
def other_key() -> KeyRecord:
    """A key of another team."""
    return key_record(id=new_id("key"), team_id=new_id("team"))


@pytest.fixture
def make_job(database: Database) -> Callable[..., Any]:
    """Write the row of a job; fields may be set."""
    template = JobRecord(
        id="",
        team_id="team_x",
        key_id="key_x",
        script_id=None,
        rerun_of=None,
        name=None,
        runtime="python",
        entry="main.py",
        content_sha="",
        files_sha=None,
        stdin_sha=None,
        spec=JobSpec(),
        labels={},
        webhook=None,
        priority=0,
        precedence=0,
        fair_order=0,
        input_bytes=0,
        status="succeeded",
        reason="exited",
        message=None,
        exit_code=0,
        signal=None,
        attempt=1,
        failures=0,
        losses=0,
        interruptions=0,
        worker_id=None,
        lease_until_at=None,
        cancel_at=None,
        available_at=0,
        created_at=0,
        claimed_at=None,
        started_at=None,
        ended_at=None,
        finished_at=None,
        metrics=None,
        stdout_bytes=0,
        stderr_bytes=0,
        storage_bytes=0,
    )

    async def make(content_sha: str, **fields: Any) -> JobRecord:
        job = replace(template, id=new_id("job"), content_sha=content_sha, **fields)
        row = {column.name: getattr(job, column.name) for column in jobs.columns}
        async with database.writing() as connection:
            await connection.execute(insert(jobs).values(**{**row, "spec": job.spec.to_json()}))
        return job

    return make


async def count(database: Database, table: Table) -> int:
    async with database.reading() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())
