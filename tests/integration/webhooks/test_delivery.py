"""Deliveries from the outbox to a real receiver: what arrives, and what happens when it does not."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from emberbox.schemas.signatures import verify_signature
from emberbox.schemas.webhooks import Event
from emberbox.service.webhooks.dispatcher import Dispatcher
from emberbox.service.webhooks.news import enqueue_for_job
from emberbox.service.webhooks.outbox import Outbox
from emberbox.service.webhooks.registry import Webhooks
from emberbox.store.tables import deliveries
from tests.integration.webhooks.conftest import VAULT, dispatching, ended_job, settings_with, settled
from tests.integration.webhooks.receiver import OK, Receiver, answer, receiving
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox.store import Database
    from emberbox.store.records import JobRecord, KeyRecord


async def tell(database: Database, job: JobRecord, *dispatchers: Dispatcher) -> int:
    async with database.writing() as connection:
        count = await enqueue_for_job(connection, job)
    for dispatcher in dispatchers:
        dispatcher.wake()
    return count


async def test_news_of_a_job_arrive_signed(
    database: Database, owner: KeyRecord, webhooks: Webhooks, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    hook, secret = await webhooks.create(owner, url=f"{receiver.url}?a=b", events=["job.finished"])
    job = ended_job(owner.id, name="ünï", message="x" * 5000)
    assert await tell(database, job, dispatcher) == 1
    [row] = await settled(database)
    assert (row["status"], row["attempt"], row["webhook_id"], row["next_at"]) == (
        "delivered",
        1,
        hook.id,
        None,
    )
    assert row["history"][0]["status"] == 204
    [request] = receiver.received
    assert request.line == "POST /hook?a=b HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["emberbox-event"] == "job.succeeded"
    assert request.headers["emberbox-delivery"] == row["id"]
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Emberbox/")
    assert verify_signature(request.body, request.headers["emberbox-signature"], secret)
    assert not verify_signature(request.body, request.headers["emberbox-signature"], "whsec_other")
    event = Event.model_validate_json(request.body)
    assert event.data.job is not None
    assert (event.id, event.version, event.event, event.data.job.id) == (
        row["id"],
        1,
        "job.succeeded",
        job.id,
    )
    assert (event.data.job.name, event.data.job.labels, event.data.job.exit_code) == (
        "ünï",
        {"team": "data"},
        0,
    )
    assert len(request.body) < 4000
    assert not {"stdout", "stderr", "env", "args"} & set(json.loads(request.body)["data"]["job"])
    assert secret not in json.dumps(row)


async def test_each_webhook_hears_of_what_it_asked_for(
    database: Database, owner: KeyRecord, webhooks: Webhooks, receiver: Receiver
) -> None:
    wanted = {
        "any": ["*"],
        "end": ["job.finished"],
        "bad": ["job.failed", "job.lost"],
        "test": ["webhook.test"],
    }
    for name, events in wanted.items():
        await webhooks.create(owner, url=f"http://127.0.0.1:{receiver.port}/{name}", events=events)
    switched_off, _ = await webhooks.create(owner, url=receiver.url, events=["*"])
    await webhooks.update(owner, switched_off.id, active=False)
    counts = [
        await tell(database, ended_job(owner.id, status))
        for status in ("succeeded", "failed", "cancelled", "lost")
    ]
    assert counts == [2, 3, 2, 3]
    await settled(database, 10)
    heard = [(one.line.split()[1], one.headers["emberbox-event"]) for one in receiver.received]
    assert ("/bad", "job.failed") in heard
    assert ("/bad", "job.lost") in heard
    assert len(heard) == len(set(heard)) == 10


async def test_a_jobs_own_webhook_is_signed_when_it_has_a_secret(
    database: Database, owner: KeyRecord, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    for secret in (None, "a-secret-of-ours"):
        job = ended_job(owner.id, webhook={"url": receiver.url, "secret": secret})
        assert await tell(database, job, dispatcher) == 1
    await settled(database, 2)
    signatures = sorted((one.headers.get("emberbox-signature", ""), one.body) for one in receiver.received)
    assert signatures[0][0] == ""
    assert verify_signature(signatures[1][1], signatures[1][0], "a-secret-of-ours")


async def test_other_keys_hear_nothing(
    database: Database, owner: KeyRecord, webhooks: Webhooks, receiver: Receiver
) -> None:
    await webhooks.create(owner, url=receiver.url, events=["*"])
    assert await tell(database, ended_job("key_another")) == 0


async def test_failures_are_tried_again_with_the_same_id_and_a_new_signature(
    database: Database, owner: KeyRecord, webhooks: Webhooks, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.answers = [answer(500, b"no \x1b[31m\x00"), answer(404)]
    _, secret = await webhooks.create(owner, url=receiver.url, events=["*"])
    await tell(database, ended_job(owner.id), dispatcher)
    [row] = await settled(database)
    assert (row["status"], row["attempt"]) == ("delivered", 3)
    assert [(one["attempt"], one["status"]) for one in row["history"]] == [(1, 500), (2, 404), (3, 204)]
    assert row["history"][0]["response"] == "no \\x1b[31m\\x00"
    assert len({one.body for one in receiver.received}) == 1
    assert all(
        verify_signature(one.body, one.headers["emberbox-signature"], secret) for one in receiver.received
    )


async def test_a_delivery_is_dead_after_the_last_attempt_and_can_be_revived(
    database: Database, owner: KeyRecord, webhooks: Webhooks, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.always = answer(503)
    await webhooks.create(owner, url=receiver.url, events=["*"])
    await tell(database, ended_job(owner.id), dispatcher)
    [row] = await settled(database)
    assert (row["status"], row["attempt"], len(receiver.received)) == ("dead", 4, 4)
    assert row["finished_at"] is not None
    await asyncio.sleep(0.3)
    assert len(receiver.received) == 4
    receiver.always = OK
    await webhooks.retry(owner, row["id"])
    await receiver.wait_for(5)
    [row] = await settled(database)
    assert (row["status"], row["attempt"], len(row["history"])) == ("delivered", 1, 5)


async def test_a_receiver_that_is_gone_switches_its_webhook_off(
    database: Database, owner: KeyRecord, webhooks: Webhooks, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    receiver.answers = [answer(410)]
    hook, _ = await webhooks.create(owner, url=receiver.url, events=["*"])
    await tell(database, ended_job(owner.id), dispatcher)
    [row] = await settled(database)
    assert (row["status"], row["attempt"]) == ("dead", 1)
    assert (await webhooks.get(owner, hook.id)).active is False
    assert await tell(database, ended_job(owner.id)) == 0
    assert len(receiver.received) == 1


async def test_what_is_pending_when_a_webhook_is_switched_off_is_given_up(
    database: Database, owner: KeyRecord, webhooks: Webhooks, dispatcher: Dispatcher, receiver: Receiver
) -> None:
    hook, _ = await webhooks.create(owner, url=receiver.url, events=["*"])
    await webhooks.update(owner, hook.id, active=False)
    async with database.writing() as connection:
        await connection.execute(deliveries.insert().values(**_pending(owner, hook.id, receiver)))
    dispatcher.wake()
    [row] = await settled(database)
    assert (row["status"], row["history"][0]["error"]) == ("dead", "the webhook is not active")
    assert receiver.received == []


async def test_retry_after_is_waited_for_up_to_the_bound(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    settings = settings_with(retry_s=0.0001, retry_max_s=0.6)
    receiver.answers = [
        answer(429, Retry_After="1"),
        answer(503, Retry_After="86400"),
        answer(500, Retry_After="86400"),
    ]
    async with dispatching(Dispatcher(database, settings, VAULT)) as dispatcher:
        await tell(database, ended_job(owner.id, webhook={"url": receiver.url}), dispatcher)
        [row] = await settled(database)
    at = [one["at"] for one in row["history"]]
    pauses = [(later - sooner) / 1e6 for sooner, later in itertools.pairwise(at)]
    assert len(pauses) == 3
    assert pauses[0] > 0.5
    assert pauses[1] > 0.5


async def test_only_who_has_too_much_to_do_may_ask_for_a_pause(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    receiver.answers = [answer(500, Retry_After="86400")]
    async with dispatching(
        Dispatcher(database, settings_with(retry_s=0.0001, retry_max_s=3600), VAULT)
    ) as dispatcher:
        await tell(database, ended_job(owner.id, webhook={"url": receiver.url}), dispatcher)
        [row] = await settled(database)
    assert (row["status"], row["attempt"]) == ("delivered", 2)


async def test_a_new_url_and_a_new_secret_hold_for_what_is_pending(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    settings = settings_with()
    registry = Webhooks(database, settings, VAULT, lambda: None)
    hook, _ = await registry.create(owner, url="http://127.0.0.1:9/", events=["*"])
    await tell(database, ended_job(owner.id))
    await registry.update(owner, hook.id, url=receiver.url)
    _, secret = await registry.rotate(owner, hook.id)
    async with dispatching(Dispatcher(database, settings, VAULT)):
        [row] = await settled(database)
    assert row["url"] == receiver.url
    [request] = receiver.received
    assert verify_signature(request.body, request.headers["emberbox-signature"], secret)


async def test_many_deliveries_arrive_once_each(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    for _ in range(60):
        await tell(database, ended_job(owner.id, webhook={"url": receiver.url}))
    settings = settings_with(concurrency=4)
    async with (
        dispatching(Dispatcher(database, settings, VAULT)),
        dispatching(Dispatcher(database, settings, VAULT)),
    ):
        rows = await settled(database, 60)
    assert {row["status"] for row in rows} == {"delivered"}
    ids = [one.headers["emberbox-delivery"] for one in receiver.received]
    assert len(ids) == len(set(ids)) == 60
    assert receiver.most_open <= 4


async def test_a_destination_that_hangs_does_not_hold_up_others(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with receiving() as slow:
        slow.always = hang
        for _ in range(300):
            await tell(database, ended_job(owner.id, webhook={"url": slow.url}))
        for _ in range(10):
            await tell(database, ended_job(owner.id, webhook={"url": receiver.url}))
        async with dispatching(Dispatcher(database, settings_with(timeout_s=3600.0, concurrency=4), VAULT)):
            await receiver.wait_for(10, PATIENCE_S)
            assert slow.most_open <= 2


async def test_an_outcome_that_comes_too_late_is_not_written(database: Database, owner: KeyRecord) -> None:
    outbox = Outbox(database)
    await tell(database, ended_job(owner.id, webhook={"url": "http://127.0.0.1:9/"}))
    async with database.reading() as connection:
        delivery_id = str(await connection.scalar(select(deliveries.c.id)))
    [first] = await outbox.claim([delivery_id], 0.0)
    [second] = await outbox.claim([delivery_id], 30.0)
    assert await outbox.claim([delivery_id], 30.0) == []
    assert not await outbox.finish(first, "dead", {})
    assert await outbox.finish(second, "delivered", {})
    assert not await outbox.finish(second, "dead", {})


async def test_attempts_under_way_are_handed_back_when_the_dispatcher_stops(
    database: Database, owner: KeyRecord, receiver: Receiver
) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    receiver.answers = [hang]
    settings = settings_with(timeout_s=3600.0)
    await tell(database, ended_job(owner.id, webhook={"url": receiver.url}))
    async with dispatching(Dispatcher(database, settings, VAULT)):
        await receiver.wait_for(1)
    async with dispatching(Dispatcher(database, settings, VAULT)):
        [row] = await settled(database, timeout_s=PATIENCE_S)
    assert (row["status"], row["attempt"], len(receiver.received)) == ("delivered", 1, 2)


@pytest.mark.parametrize("outcome", ["delivered", "dead"])
async def test_attempts_are_counted(
    database: Database, owner: KeyRecord, receiver: Receiver, outcome: str
) -> None:
    outcomes: list[str] = []
    receiver.answers = [answer(500)]
    receiver.always = OK if outcome == "delivered" else answer(500)
    async with dispatching(
        Dispatcher(database, settings_with(attempts=2), VAULT, outcomes.append)
    ) as dispatcher:
        await tell(database, ended_job(owner.id, webhook={"url": receiver.url}), dispatcher)
        await settled(database)
        async with asyncio.timeout(PATIENCE_S):
            while len(outcomes) < 2:  # noqa: ASYNC110  they are counted after they are written
                await asyncio.sleep(0.01)
    assert outcomes == ["failed", outcome]


def _pending(owner: KeyRecord, webhook_id: str, receiver: Receiver) -> dict[str, object]:
    from emberbox.service.webhooks.news import delivery_row

    return delivery_row(key_id=owner.id, event="job.failed", data={}, url=receiver.url, webhook_id=webhook_id)
