"""A dispatcher that is killed in the middle of an attempt: what it had is delivered by the next one."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from emberbox.service.webhooks.dispatcher import Dispatcher
from emberbox.service.webhooks.news import enqueue_for_job
from tests.integration.webhooks.conftest import VAULT, dispatching, ended_job, settings_with, settled

if TYPE_CHECKING:
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord
    from tests.integration.webhooks.receiver import Receiver

PROGRAM = """
import asyncio, sys
from dataclasses import replace
from emberbox.config import Settings, WebhookSettings
from emberbox.service.webhooks.dispatcher import Dispatcher
from emberbox.store import Database
from tests.vaults import vault_with

async def main():
    settings = replace(Settings(), webhooks=WebhookSettings(allow_private=True, timeout_s=3.0))
    await Dispatcher(Database(sys.argv[1]), settings, vault_with(), lease_margin_s=0.5).run()

asyncio.run(main())
"""


async def test_what_a_killed_dispatcher_had_is_delivered_after_its_lease(
    database: Database, database_url: str, owner: KeyRecord, receiver: Receiver
) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    receiver.answers = [hang, hang]
    async with database.writing() as connection:
        for _ in range(3):
            await enqueue_for_job(connection, ended_job(owner.id, webhook={"url": receiver.url}))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, database_url)
    try:
        await receiver.wait_for(3)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with dispatching(Dispatcher(database, settings_with(), VAULT)):
        rows = await settled(database, 3)
    assert {row["status"] for row in rows} == {"delivered"}
    heard = {one.headers["emberbox-delivery"] for one in receiver.received}
    assert heard == {row["id"] for row in rows}
    # The third may have been delivered, and not yet marked, when the kill came.
    assert len(receiver.received) in (5, 6)
    assert sorted(row["attempt"] for row in rows)[1:] == [2, 2]
