"""What the sweeper deletes, and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select, update

from emberbox.config import RetentionSettings, Settings
from emberbox.errors import NotFound
from emberbox.ids import new_id
from emberbox.service.upkeep import expiry
from emberbox.service.upkeep.retention import Sweeper, SweepReport
from emberbox.service.uploads.contents import INLINE_BYTES, Contents
from emberbox.service.uploads.intake import UPLOADS
from emberbox.service.webhooks.news import delivery_row
from emberbox.store.database import now_us
from emberbox.store.tables import artifacts, attempts, deliveries, idempotency, jobs, results
from emberbox.store.tables import contents as contents_table
from emberbox.store.tables import scripts as scripts_table
from tests.integration.uploads.conftest import count
from tests.patience import PATIENCE_S
from tests.storing import StoredContents, boundless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.service.uploads.scripts import Scripts
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord
    from emberbox.testing import MemoryBlobs

DAY_US = 86_400_000_000
KEEP_ALL = RetentionSettings(jobs_s=0, logs_s=0, artifacts_s=0, scripts_s=0, deliveries_s=0, idempotency_s=0)


def ago(days: float) -> int:
    return now_us() - int(days * DAY_US)


def delivery(job_id: str | None, created_at: int, **fields: Any) -> dict[str, Any]:
    row = delivery_row(team_id="t", event="job.succeeded", data={}, url="http://x", job_id=job_id)
    return {**row, "created_at": created_at, **fields}


class Stored:
    """Fills the tables, and sweeps them."""

    def __init__(
        self,
        db: Database,
        blobs: MemoryBlobs,
        contents: StoredContents,
        make_job: Callable[..., Any],
        settings: Settings,
    ) -> None:
        self.db, self.blobs, self.contents, self.make_job, self.settings = (
            db,
            blobs,
            contents,
            make_job,
            settings,
        )
        self.forgotten = 0

    def sweeper(self, **ages: float) -> Sweeper:
        retention = replace(KEEP_ALL, **ages)  # type: ignore[arg-type]
        return Sweeper(self.db, self.blobs, replace(self.settings, retention=retention), forget=self._forget)

    def _forget(self) -> None:
        self.forgotten += 1

    async def sweep(self, **ages: float) -> SweepReport:
        return await self.sweeper(**ages).sweep()

    async def job(
        self,
        *,
        ended: float | None = None,
        log: bytes = b"log",
        large: bool = False,
        kept: int = 1,
        **fields: Any,
    ) -> JobRecord:
        """A job that ended so many days ago, with all that belongs to it."""
        content = await self.contents.put_file("main.py", fields.pop("code", b"x"))
        at = None if ended is None else ago(ended)
        job: JobRecord = await self.make_job(
            content.sha256,
            finished_at=at,
            status="queued" if at is None else "succeeded",
            storage_bytes=len(log) + (len(log[:5]) if large else 0) + 10 * kept,
            **fields,
        )
        if at is None:
            return job
        log_key = f"logs/{job.id}/1" if large else None
        if log_key:
            await self.blobs.put(log_key, log)
        keys = [f"artifacts/{job.id}/{number}" for number in range(kept)]
        for key in keys:
            await self.blobs.put(key, bytes(10))
        async with self.db.writing() as connection:
            await connection.execute(
                insert(attempts).values(
                    job_id=job.id, attempt=1, worker_id="w", claimed_at=at, ended_at=at, outcome="succeeded"
                )
            )
            await connection.execute(
                insert(results).values(
                    job_id=job.id,
                    attempt=1,
                    log=None if large else log,
                    log_key=log_key,
                    log_bytes=len(log),
                    stdout=log[:5] if large else None,
                    stderr=b"" if large else None,
                )
            )
            for key in keys:
                await connection.execute(
                    insert(artifacts).values(
                        id=new_id("art"),
                        job_id=job.id,
                        path="a",
                        size=10,
                        sha256="0" * 64,
                        blob_key=key,
                        created_at=at,
                    )
                )
            await connection.execute(
                insert(idempotency).values(
                    key_id=job.key_id,
                    idempotency_key=job.id,
                    request_hash="0" * 64,
                    job_id=job.id,
                    created_at=at,
                )
            )
            await connection.execute(
                insert(deliveries).values(**delivery(job.id, at, finished_at=at, status="delivered"))
            )
        return job

    async def counts(self) -> dict[str, int]:
        tables = (jobs, attempts, results, artifacts, idempotency, deliveries)
        return {table.name: await count(self.db, table) for table in tables}


@pytest.fixture
def stored(
    database: Database,
    blobs: MemoryBlobs,
    contents: StoredContents,
    make_job: Callable[..., Any],
    settings: Settings,
) -> Stored:
    return Stored(database, blobs, contents, make_job, settings)


async def test_old_jobs_go_with_all_that_is_theirs(stored: Stored) -> None:
    for number in range(5):
        await stored.job(ended=10 + number, large=number % 2 == 0)
    young, queued = await stored.job(ended=1, large=True), await stored.job()
    report = await stored.sweep(jobs_s=5 * 86_400)
    assert (report.jobs, report.failed, stored.forgotten) == (5, 0, 1)
    assert await stored.counts() == dict.fromkeys(
        ("attempts", "results", "artifacts", "idempotency", "deliveries"), 1
    ) | {"jobs": 2}
    assert set(stored.blobs.blobs) == {f"logs/{young.id}/1", f"artifacts/{young.id}/0"}
    async with stored.db.reading() as connection:
        assert set((await connection.execute(select(jobs.c.id))).scalars()) == {young.id, queued.id}
    assert (await stored.sweep(jobs_s=5 * 86_400)).total == 0


async def test_more_than_one_batch(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "BATCH", 3)
    monkeypatch.setattr("emberbox.service.upkeep.retention.BATCH", 3)
    for _ in range(10):
        await stored.job(ended=10)
    assert (await stored.sweep(jobs_s=86_400)).jobs == 10
    assert set((await stored.counts()).values()) == {0}
    assert stored.blobs.blobs == {}


async def test_0_keeps_all(stored: Stored) -> None:
    await stored.job(ended=10_000)
    assert (await stored.sweep()).total == 0


async def test_logs_go_before_their_jobs(stored: Stored) -> None:
    old, large = (
        await stored.job(ended=10, log=b"0123456789"),
        await stored.job(ended=9, log=b"0123456789", large=True),
    )
    young = await stored.job(ended=1)
    sweeper = stored.sweeper(jobs_s=30 * 86_400, logs_s=5 * 86_400)
    assert (await sweeper.sweep()).logs == 2
    async with stored.db.reading() as connection:
        rows = {row.job_id: row for row in await connection.execute(select(results))}
        left = {
            row.id: row.storage_bytes
            for row in await connection.execute(select(jobs.c.id, jobs.c.storage_bytes))
        }
    for job in (old, large):
        assert (rows[job.id].log, rows[job.id].log_key, rows[job.id].stdout, rows[job.id].stderr) == (
            None,
            None,
            None,
            None,
        )
        assert left[job.id] == 10, "the artifacts remain"
    assert rows[young.id].log == b"log"
    assert f"logs/{large.id}/1" not in stored.blobs.blobs
    await stored.job(ended=6)
    assert (await sweeper.sweep()).logs == 1, "it came after the first sweep"
    assert (await sweeper.sweep()).total == 0
    assert (await stored.sweep(logs_s=5 * 86_400)).total == 0, "also to a sweeper that just began"


async def test_artifacts_go_before_their_jobs(stored: Stored) -> None:
    old, young = await stored.job(ended=10, kept=3), await stored.job(ended=1)
    assert (await stored.sweep(artifacts_s=5 * 86_400)).artifacts == 3
    assert set(stored.blobs.blobs) == {f"artifacts/{young.id}/0"}
    async with stored.db.reading() as connection:
        assert (
            await connection.execute(select(jobs.c.storage_bytes).where(jobs.c.id == old.id))
        ).scalar_one() == 3


async def test_idempotency_and_deliveries(stored: Stored) -> None:
    await stored.job(ended=2)
    await stored.job(ended=0.1)
    async with stored.db.writing() as connection:
        await connection.execute(insert(deliveries).values(**delivery(None, ago(9))))
    report = await stored.sweep(idempotency_s=86_400, deliveries_s=86_400)
    assert (report.idempotency, report.deliveries) == (1, 1)
    assert await count(stored.db, deliveries) == 2, "one is young, and one not yet delivered"


async def test_scripts_and_what_nothing_refers_to(
    stored: Stored, scripts: Scripts, key: KeyRecord, database: Database
) -> None:
    old, young = await put_script(scripts, key, b"old"), await put_script(scripts, key, b"young")
    job = await stored.job(code=os.urandom(INLINE_BYTES + 1))
    loose = await stored.contents.put_file("loose", os.urandom(INLINE_BYTES + 1))
    async with database.writing() as connection:
        await connection.execute(
            update(scripts_table).where(scripts_table.c.id == old).values(created_at=ago(10))
        )
    assert await count(database, contents_table) == 4
    report = await stored.sweep(scripts_s=5 * 86_400)
    assert (report.scripts, report.contents) == (1, 0), "what is loose may be about to be referred to"
    assert await count(database, contents_table) == 3, "a script's content goes with it"
    async with database.writing() as connection:
        await connection.execute(update(contents_table).values(touched_at=ago(1)))
    report = await stored.sweep(scripts_s=5 * 86_400)
    assert report.contents == 1
    fresh = Contents(database, stored.blobs)
    with pytest.raises(NotFound):
        await fresh.get(loose.sha256)
    assert loose.blob_key not in stored.blobs.blobs
    assert await fresh.read(await fresh.get(job.content_sha))
    assert (await scripts.content(key, young))[1].data == b"young"


@pytest.mark.parametrize("column", ["content_sha", "files_sha", "stdin_sha"])
async def test_what_a_job_refers_to_stays(stored: Stored, column: str, database: Database) -> None:
    content = await stored.contents.put_file("x", b"needed")
    await stored.job(**({"code": b"needed"} if column == "content_sha" else {column: content.sha256}))
    async with database.writing() as connection:
        await connection.execute(update(contents_table).values(touched_at=1))
    await stored.sweep()
    if column != "content_sha":
        assert (await Contents(database, stored.blobs).get(content.sha256)).data == b"needed"


async def test_orphan_blobs_are_found_and_nothing_else_is(stored: Stored, blobs: MemoryBlobs) -> None:
    job = await stored.job(ended=1, large=True)
    content = await stored.contents.put_file("x", os.urandom(INLINE_BYTES + 1))
    used = {f"logs/{job.id}/1", f"artifacts/{job.id}/0", content.blob_key}
    orphans = [
        f"contents/{content.sha256}/other",
        f"logs/{job.id}/2",
        "logs/none/1",
        f"artifacts/{job.id}/x",
        "contents/ab/c",
    ]
    for key in [*orphans, "contents/fresh/x", "foreign/x"]:
        await blobs.put(key, b"x")
    for key in blobs.blobs:
        blobs.modified_us[key] = ago(2)
    blobs.modified_us["contents/fresh/x"] = ago(0.5)
    report = await stored.sweep()
    assert report.orphans == len(orphans)
    assert set(blobs.blobs) == used | {"contents/fresh/x", "foreign/x"}


async def test_a_crash_between_row_and_blob_is_healed(stored: Stored, blobs: MemoryBlobs) -> None:
    await stored.job(ended=10, large=True)
    blobs.failing.add("delete")
    sweeper = stored.sweeper(jobs_s=86_400)
    report = await sweeper.sweep()
    assert (report.jobs, report.failed) == (1, 1)
    assert len(blobs.blobs) == 2
    blobs.failing.clear()
    for key in blobs.blobs:
        blobs.modified_us[key] = ago(2)
    assert (await stored.sweep(jobs_s=86_400)).orphans == 2
    assert blobs.blobs == {}


async def test_the_store_is_listed_seldom(stored: Stored, blobs: MemoryBlobs) -> None:
    sweeper = stored.sweeper()
    for _ in range(5):
        await sweeper.sweep()
    assert [name for name, _ in blobs.calls].count("list") == 3


async def test_folders_of_dead_uploads_go(stored: Stored, tmp_path: Path) -> None:
    for name, age_s in (("old", 90_000), ("young", 10)):
        folder = tmp_path / UPLOADS / name
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").write_bytes(b"x")
        os.utime(folder, (time.time() - age_s,) * 2)
    report = await stored.sweep()
    assert report.leftovers == 1
    assert [path.name for path in (tmp_path / UPLOADS).iterdir()] == ["young"]


async def test_one_failure_does_not_stop_the_rest(stored: Stored, blobs: MemoryBlobs) -> None:
    await stored.job(ended=10)
    blobs.failing.update(("delete", "list"))
    report = await stored.sweep(jobs_s=86_400, idempotency_s=86_400)
    assert report.failed == 2
    assert report.jobs == 1


async def test_two_sweepers_at_once(stored: Stored) -> None:
    for _ in range(30):
        await stored.job(ended=10)
    reports = await asyncio.gather(*(stored.sweep(jobs_s=86_400) for _ in range(3)))
    assert sum(report.failed for report in reports) == 0
    assert set((await stored.counts()).values()) == {0}
    assert stored.blobs.blobs == {}


async def test_it_runs_until_it_is_cancelled(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.service.upkeep.retention._LEAST_PAUSE_S", 0.01)
    await stored.job(ended=10)
    task = asyncio.create_task(stored.sweeper(jobs_s=86_400, sweep_s=0).run())
    async with asyncio.timeout(PATIENCE_S):
        while await count(stored.db, jobs):  # noqa: ASYNC110  nothing tells of a sweep
            await asyncio.sleep(0.02)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def put_script(scripts: Scripts, key: KeyRecord, code: bytes) -> str:
    from emberbox.service.uploads.bundles import BundleFile
    from emberbox.service.uploads.intake import Upload

    upload = Upload([BundleFile("main.py", code)], archive=False, name="main.py")
    made = await scripts.create(key, upload, boundless(), runtime=None, entry=None, name=None, labels={})
    return made.id
