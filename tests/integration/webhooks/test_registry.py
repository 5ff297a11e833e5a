"""Webhooks as their owners manage them: bounds, pages, and walls between keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from emberbox.errors import Conflict, EmberboxError, InvalidInput, NotFound, QuotaExceeded
from emberbox.ids import new_id
from emberbox.service.webhooks import registry
from emberbox.service.webhooks.news import enqueue_for_job
from emberbox.service.webhooks.registry import Webhooks
from emberbox.store.tables import deliveries, webhooks
from tests.integration.webhooks.conftest import VAULT, ended_job, settings_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.store import Database
    from emberbox.store.records import KeyRecord

URL = "https://example.org/hook"


@pytest.fixture
def hooks(database: Database) -> Webhooks:
    return Webhooks(database, settings_with(allow_private=False), VAULT, lambda: None)


async def test_a_webhook_is_made_changed_and_deleted(
    hooks: Webhooks, owner: KeyRecord, database: Database
) -> None:
    made, secret = await hooks.create(
        owner, url="HTTPS://Example.org/hook", events=["*", "*", "job.lost"], description="d"
    )
    assert (made.url, made.events, made.description, made.active) == (URL, ["*", "job.lost"], "d", True)
    assert secret.startswith("whsec_")
    assert len(secret) > 40
    assert await hooks.get(owner, made.id) == made
    changed = await hooks.update(owner, made.id, events=["job.failed"], active=False)
    assert (changed.url, changed.events, changed.description, changed.active) == (
        URL,
        ["job.failed"],
        "d",
        False,
    )
    assert changed.updated_at > made.updated_at
    assert await hooks.update(owner, made.id, description="", active=True) == await hooks.get(owner, made.id)
    _, rotated = await hooks.rotate(owner, made.id)
    assert rotated != secret
    async with database.writing() as connection:
        await enqueue_for_job(connection, ended_job(owner.id, "failed"))
    await hooks.delete(owner, made.id)
    with pytest.raises(NotFound):
        await hooks.get(owner, made.id)
    async with database.reading() as connection:
        assert (await connection.execute(select(deliveries.c.id))).all() == []
        assert (await connection.execute(select(webhooks.c.id))).all() == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://[::1]/", "http://localhost/", "ftp://example.org/", "http://u:p@x.org/"],
)
async def test_urls_that_may_not_be_called_are_refused_at_once(
    hooks: Webhooks, owner: KeyRecord, url: str
) -> None:
    with pytest.raises(InvalidInput):
        await hooks.create(owner, url=url, events=["*"])
    made, _ = await hooks.create(owner, url=URL, events=["*"])
    with pytest.raises(InvalidInput):
        await hooks.update(owner, made.id, url=url)
    with pytest.raises(InvalidInput):
        hooks.check_url(url)
    assert (await hooks.get(owner, made.id)).url == URL


async def test_one_key_never_sees_anothers(
    hooks: Webhooks, owner: KeyRecord, make_owner: Callable[[], Awaitable[KeyRecord]], database: Database
) -> None:
    stranger = await make_owner()
    made, _ = await hooks.create(owner, url=URL, events=["*"])
    delivery = await hooks.test(owner, made.id)
    assert await hooks.list(stranger) == ([], None)
    assert await hooks.deliveries(stranger) == ([], None)
    for call in (
        hooks.get(stranger, made.id),
        hooks.update(stranger, made.id, active=False),
        hooks.rotate(stranger, made.id),
        hooks.delete(stranger, made.id),
        hooks.test(stranger, made.id),
        hooks.deliveries(stranger, webhook_id=made.id),
        hooks.delivery(stranger, delivery.id),
        hooks.retry(stranger, delivery.id),
    ):
        with pytest.raises(NotFound):
            await call
    assert await hooks.get(owner, made.id) == made
    assert (await hooks.delivery(owner, delivery.id)).id == delivery.id


@pytest.mark.parametrize(
    "name",
    ["", "x", "whk_", "whk_\x00", "job_01jxq4cw3m8x3c7dyzv5m4k9rt", "whk_01JXQ4CW3M8X3C7DYZV5M4K9RT", "'"],
)
async def test_names_that_are_no_ids_are_not_found(hooks: Webhooks, owner: KeyRecord, name: str) -> None:
    for call in (
        hooks.get(owner, name),
        hooks.delete(owner, name),
        hooks.delivery(owner, name),
        hooks.retry(owner, name),
    ):
        with pytest.raises(NotFound):
            await call


async def test_pages_go_from_the_newest_to_the_oldest(hooks: Webhooks, owner: KeyRecord) -> None:
    made = [(await hooks.create(owner, url=URL, events=["*"]))[0].id for _ in range(5)]
    found, cursor, sizes = list[str](), None, []
    while True:
        page, cursor = await hooks.list(owner, cursor=cursor, limit=2)
        found += [hook.id for hook in page]
        sizes.append(len(page))
        if cursor is None:
            break
    assert (found, sizes) == (made[::-1], [2, 2, 1])
    for cursor in ("x", "dlv_01jxq4cw3m8x3c7dyzv5m4k9rt", "\x00"):
        with pytest.raises(InvalidInput):
            await hooks.list(owner, cursor=cursor)


async def test_deliveries_are_filtered(hooks: Webhooks, owner: KeyRecord, database: Database) -> None:
    first, second = [(await hooks.create(owner, url=URL, events=["job.failed"]))[0] for _ in range(2)]
    job = ended_job(owner.id, "failed", webhook={"url": URL, "secret": "12345678"})
    async with database.writing() as connection:
        assert await enqueue_for_job(connection, job) == 3
    await hooks.test(owner, first.id)
    assert len((await hooks.deliveries(owner))[0]) == 4
    assert {one.event for one in (await hooks.deliveries(owner, webhook_id=first.id))[0]} == {
        "webhook.test",
        "job.failed",
    }
    assert [one.job_id for one in (await hooks.deliveries(owner, webhook_id=second.id))[0]] == [job.id]
    assert len((await hooks.deliveries(owner, job_id=job.id))[0]) == 3
    assert (await hooks.deliveries(owner, job_id=new_id("job")))[0] == []
    assert (await hooks.deliveries(owner, job_id="\x00"))[0] == []
    assert len((await hooks.deliveries(owner, status="pending"))[0]) == 4
    assert (await hooks.deliveries(owner, status="dead"))[0] == []


async def test_what_the_state_does_not_allow_is_a_conflict(
    hooks: Webhooks, owner: KeyRecord, database: Database
) -> None:
    made, _ = await hooks.create(owner, url=URL, events=["*"])
    delivery = await hooks.test(owner, made.id)
    with pytest.raises(Conflict, match="still"):
        await hooks.retry(owner, delivery.id)
    async with database.writing() as connection:
        await connection.execute(
            deliveries.update().values(status="dead", next_at=None, finished_at=1, attempt=8)
        )
    await hooks.update(owner, made.id, active=False)
    for call in (hooks.test(owner, made.id), hooks.retry(owner, delivery.id)):
        with pytest.raises(Conflict, match="not active"):
            await call
    await hooks.update(owner, made.id, active=True)
    again = await hooks.retry(owner, delivery.id)
    assert (again.status, again.attempt, again.finished_at, again.payload) == (
        "pending",
        0,
        None,
        delivery.payload,
    )


async def test_a_key_has_so_many_webhooks_and_no_more(
    hooks: Webhooks, owner: KeyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MOST_WEBHOOKS", 3)
    made = await asyncio.gather(*(_try(hooks, owner) for _ in range(6)))
    assert sorted(made) == ["made"] * 3 + ["quota_exceeded"] * 3


async def _try(hooks: Webhooks, owner: KeyRecord) -> str:
    try:
        await hooks.create(owner, url=URL, events=["*"])
    except EmberboxError as error:
        assert isinstance(error, QuotaExceeded)
        return error.code
    return "made"
