"""What is stored is counted at once and exactly, from the first byte to the last one's deletion."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import update

from emberbox.config import QuotaSettings, RetentionSettings
from emberbox.errors import Conflict, QuotaExceeded
from emberbox.schemas.jobs import SubmitJob
from emberbox.service.upkeep.retention import Sweeper
from emberbox.store.tables import contents, jobs, scripts
from tests.integration.jobs.conftest import Caller

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.service.service import Service
    from tests.integration.shares.conftest import Stored

SHARE = 400_000
LARGE = 100_000


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    """A service whose teams may store little."""
    return replace(
        service_settings,
        quota=QuotaSettings(storage_bytes=SHARE),
        worker=replace(service_settings.worker, drain_s=0.1),
    )


@pytest.fixture
async def caller(service: Service) -> Caller:
    key, _ = await service.keys.create("caller", ["run"])
    return Caller(service, key)


@pytest.fixture
async def other(service: Service) -> Caller:
    team = await service.teams.create("other")
    key, _ = await service.keys.create("other", ["run"], team_id=team.id)
    return Caller(service, key)


def padded(code: str, size: int = LARGE) -> str:
    return f"{code} #{os.urandom(size // 2).hex()}"


async def upload(caller: Caller, code: str) -> str:
    from emberbox.service.uploads.bundles import BundleFile
    from emberbox.service.uploads.intake import Upload

    given = Upload([BundleFile("main.sh", code.encode())], archive=False, name="main.sh")
    made = caller.service.scripts
    with made.reserve(caller.key) as room:
        await room.look()
        options: dict[str, Any] = {"runtime": None, "entry": None, "name": None, "labels": {}}
        return (await made.create(caller.key, given, room, **options)).id


async def test_all_that_a_job_leaves_is_charged_and_given_back(caller: Caller, stored: Stored) -> None:
    code = padded("printf 0123456789; head -c 200000 /dev/zero | tr '\\0' x; printf abc >out.txt")
    job = await caller.run(code, stdin="input", files={"beside": "x" * 1000}, artifacts=["out.txt"])
    assert job.status == "succeeded", job.message
    charged = await stored.charged(caller.key.team_id)
    assert charged > len(code) + 5 + 1000 + 200_000 + 3
    assert await stored.charged(caller.key.id) == charged, "the key is charged with the same"
    assert 0 < await stored.rows_of(caller.key) < 2000
    await caller.service.jobs.delete(caller.key, job.id)
    assert await stored.charged(caller.key.team_id) == await stored.charged(caller.key.id) == 0
    assert await stored.nothing()


async def test_what_many_refer_to_is_charged_once_and_goes_with_the_last(
    caller: Caller, stored: Stored
) -> None:
    code = padded("true")
    first, second = await caller.run(code), await caller.run(code)
    charged = await stored.charged(caller.key.team_id)
    assert LARGE < charged < LARGE + 10_000
    await caller.service.jobs.delete(caller.key, first.id)
    assert await stored.charged(caller.key.team_id) > LARGE
    again = await caller.service.submission.rerun(caller.key, second)
    await caller.ended(again.id)
    await caller.service.jobs.delete(caller.key, second.id)
    assert await stored.charged(caller.key.team_id) > LARGE
    await caller.service.jobs.delete(caller.key, again.id)
    assert await stored.charged(caller.key.team_id) == 0
    assert await stored.nothing()


async def test_two_teams_are_both_charged(caller: Caller, other: Caller, stored: Stored) -> None:
    code = padded("true")
    mine, theirs = await upload(caller, code), await upload(other, code)
    assert await stored.charged(caller.key.team_id) == await stored.charged(other.key.team_id) > LARGE
    assert (await stored.counts())["contents"] == 1
    await caller.service.scripts.delete(caller.key, mine)
    assert await stored.charged(caller.key.team_id) == 0
    script, content = await other.service.scripts.content(other.key, theirs)
    assert len(await other.service.contents.read(content)) == script.size
    await other.service.scripts.delete(other.key, theirs)
    assert await stored.nothing()


async def test_a_share_is_full_at_once_and_free_at_once(caller: Caller, stored: Stored) -> None:
    """Nothing is remembered for a while: the byte above the share is refused, also of many at a time."""
    await caller.service.worker.stop(0)
    asked = await asyncio.gather(*(caller.submit(padded("true")) for _ in range(10)), return_exceptions=True)
    taken = [one for one in asked if not isinstance(one, BaseException)]
    assert {type(one) for one in asked if isinstance(one, BaseException)} == {QuotaExceeded}
    assert len(taken) == 3
    assert await stored.charged(caller.key.team_id) <= SHARE
    assert len([info async for info in caller.service.blobs.list()]) == 3, (
        "of those that were refused no blob"
    )
    await caller.service.jobs.cancel(caller.key, taken[0].id)
    await caller.service.jobs.delete(caller.key, taken[0].id)
    assert await caller.submit(padded("true"))


async def test_what_a_job_leaves_above_the_share_is_left_out_and_said(caller: Caller, stored: Stored) -> None:
    code = "head -c 300000 /dev/zero >a.bin; head -c 300000 /dev/zero | tr '\\0' x"
    job = await caller.run(code, artifacts=["*.bin"])
    assert job.status == "succeeded"
    kept = await caller.service.artifacts.list(job.id)
    assert [record.size for record in kept] == [300_000]
    assert job.message is not None
    assert "its output is not kept" in job.message
    assert await stored.charged(caller.key.team_id) <= SHARE
    second = await caller.run(code, artifacts=["*.bin"])
    assert "a.bin was left out: this team stores" in str(second.message)
    assert await caller.service.artifacts.list(second.id) == []
    assert await stored.charged(caller.key.team_id) <= SHARE
    assert caller.service.reservations.promised(caller.key.team_id) == 0


async def test_what_retention_deletes_is_given_back(caller: Caller, service: Service, stored: Stored) -> None:
    job = await caller.run(
        padded("head -c 100000 /dev/zero | tr '\\0' x; echo 1 >a.bin"), artifacts=["a.bin"]
    )
    await upload(caller, padded("true"))
    for table, column in ((jobs, "finished_at"), (scripts, "created_at")):
        await service.db.change(update(table).values({column: 1}))
    every = RetentionSettings(
        jobs_s=0, logs_s=60, artifacts_s=0, scripts_s=0, deliveries_s=0, idempotency_s=0
    )

    async def sweep(**ages: float) -> None:
        kept = replace(every, **ages)  # type: ignore[arg-type]
        settings = replace(service.settings, retention=kept)
        report = await Sweeper(service.db, service.blobs, settings, forget=service.live.recent.clear).sweep()
        assert report.failed == 0

    before = await stored.charged(caller.key.team_id)
    await sweep()
    after = await stored.charged(caller.key.team_id)
    assert before - after > 100_000
    assert await stored.rows_of(caller.key) < 2000 + 300_000
    await sweep(scripts_s=60)
    assert (await stored.counts())["scripts"] == 0
    await sweep(jobs_s=60)
    assert await stored.charged(caller.key.team_id) == 0
    assert await stored.nothing()
    assert job.id


async def test_a_content_that_was_deleted_at_this_moment_comes_with_the_next_job(
    caller: Caller, service: Service, stored: Stored
) -> None:
    """Another job's deletion takes a large content away between the look for it and the new row."""
    code = padded("true")
    job = await caller.run(code)
    order = await service.orders.for_code(SubmitJob(runtime="bash", code=code))
    prepare, calls = service.contents._prepare, list[Any]()

    async def late(planned: Any) -> Any:
        made = await prepare(planned)
        if not calls:
            calls.append(made)
            await service.jobs.delete(caller.key, job.id)
        return made

    service.contents._prepare = late  # type: ignore[method-assign]
    again, new = await service.submission.submit(caller.key, order)
    assert new
    assert calls[0].blob_key is None, "it was there when it was looked for"
    assert (await caller.ended(again.id)).status == "succeeded"
    assert (await stored.counts())["contents"] == 1


async def test_a_rerun_of_what_is_gone_is_a_conflict(caller: Caller, service: Service) -> None:
    job = await caller.run(padded("true"))
    await service.jobs.delete(caller.key, job.id)
    with pytest.raises(Conflict):
        await service.submission.rerun(caller.key, job)
    assert await service.db.rows(contents.select()) == []
