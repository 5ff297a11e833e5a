"""Webhooks and their deliveries, as their owners see them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import RowMapping, Table, delete, func, insert, select, update

from emberbox.errors import Conflict, NotFound, QuotaExceeded
from emberbox.ids import is_id, new_id
from emberbox.service.secrets.places import webhook_secret
from emberbox.service.webhooks.news import delivery_row
from emberbox.service.webhooks.reach import Reach
from emberbox.service.webhooks.targets import check_url
from emberbox.store.database import Database, now_us
from emberbox.store.records import DeliveryRecord, KeyRecord, WebhookRecord
from emberbox.store.tables import deliveries, keys, webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.config import Settings
    from emberbox.service.secrets.vault import Vault

_WebhookPage = tuple[list[WebhookRecord], str | None]
_DeliveryPage = tuple[list[DeliveryRecord], str | None]

MOST_WEBHOOKS = 50
"""Webhooks that one key may have."""


class Webhooks:
    """The webhooks of keys. Each key sees its own alone; `NotFound` is raised for another's as for none.

    Args:
        db: The database.
        settings: Their group `webhooks`.
        vault: Seals their secrets.
        wake: Called when there is something to deliver.
    """

    def __init__(self, db: Database, settings: Settings, vault: Vault, wake: Callable[[], None]) -> None:
        self._db = db
        self._reach = Reach(settings.webhooks)
        self._vault = vault
        self._wake = wake

    def check_url(self, url: str) -> str:
        """Return the URL in one spelling.

        Raises `InvalidInput` when it cannot be a webhook's, or may not be called.
        """
        return check_url(url, self._reach).url

    async def create(
        self, key: KeyRecord, *, url: str, events: Sequence[str], description: str = ""
    ) -> tuple[WebhookRecord, str]:
        """Make a webhook; returns it with the secret that signs its deliveries, which is not shown again.

        Raises:
            InvalidInput: The URL cannot be called, or may not be.
            QuotaExceeded: The key has `MOST_WEBHOOKS` already.
            SecretsUnavailable: There is no key that could seal the secret.
        """
        target, now = self.check_url(url), now_us()
        secret, webhook_id = _new_secret(), new_id("whk")
        row: dict[str, Any] = {
            "id": webhook_id,
            "key_id": key.id,
            "url": target,
            "description": description,
            "events": _distinct(events),
            "secret": self._vault.seal(secret, webhook_secret(webhook_id)),
            "active": True,
            "created_at": now,
            "updated_at": now,
        }
        async with self._db.writing() as connection:
            # Two at once would both find room; PostgreSQL lets the second wait here.
            await connection.execute(select(keys.c.id).where(keys.c.id == key.id).with_for_update())
            count = await connection.scalar(
                select(func.count()).select_from(webhooks).where(webhooks.c.key_id == key.id)
            )
            if (count or 0) >= MOST_WEBHOOKS:
                raise QuotaExceeded(f"a key may have {MOST_WEBHOOKS} webhooks; delete one first")
            await connection.execute(insert(webhooks).values(**row))
        return WebhookRecord.from_row(row), secret

    async def list(self, key: KeyRecord, *, cursor: str | None = None, limit: int = 50) -> _WebhookPage:
        """Return a page of the key's webhooks, newest first, and the cursor of the next one.

        Raises `InvalidInput`.
        """
        query = select(webhooks).where(webhooks.c.key_id == key.id)
        make = WebhookRecord.from_row
        return await self._db.page(query, webhooks.c.id, make, cursor, limit, prefix="whk")

    async def get(self, key: KeyRecord, webhook_id: str) -> WebhookRecord:
        """Return one webhook. Raises `NotFound`."""
        return await self._db.read(lambda connection: _webhook(connection, key, webhook_id))

    async def update(
        self,
        key: KeyRecord,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        active: bool | None = None,
    ) -> WebhookRecord:
        """Change what is not None; it holds for pending deliveries as well.

        Raises `NotFound`, `InvalidInput`.
        """
        values: dict[str, Any] = {"description": description, "active": active}
        values["url"] = None if url is None else self.check_url(url)
        values["events"] = None if events is None else _distinct(events)
        return await self._change(
            key, webhook_id, {name: value for name, value in values.items() if value is not None}
        )

    async def rotate(self, key: KeyRecord, webhook_id: str) -> tuple[WebhookRecord, str]:
        """Give a webhook a new secret, with which every attempt from now on is signed.

        Raises `NotFound`, and `SecretsUnavailable` when there is no key that could seal it.
        """
        secret = _new_secret()
        sealed = self._vault.seal(secret, webhook_secret(webhook_id))
        return await self._change(key, webhook_id, {"secret": sealed}), secret

    async def delete(self, key: KeyRecord, webhook_id: str) -> None:
        """Delete a webhook and its deliveries, the pending ones too. Raises `NotFound`."""
        async with self._db.writing() as connection:
            await _webhook(connection, key, webhook_id)
            await connection.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
            await connection.execute(delete(webhooks).where(webhooks.c.id == webhook_id))

    async def test(self, key: KeyRecord, webhook_id: str) -> DeliveryRecord:
        """Send `webhook.test`, whatever events the webhook asks for.

        Raises `NotFound`, and `Conflict` when it is not active.
        """
        async with self._db.writing() as connection:
            hook = await _webhook(connection, key, webhook_id)
            _check_active(hook)
            data = {"webhook_id": hook.id}
            row = delivery_row(
                key_id=key.id, event="webhook.test", data=data, url=hook.url, webhook_id=hook.id
            )
            await connection.execute(insert(deliveries).values(**row))
        self._wake()
        return DeliveryRecord.from_row(row)

    async def deliveries(
        self,
        key: KeyRecord,
        *,
        webhook_id: str | None = None,
        job_id: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> _DeliveryPage:
        """Return a page of the key's deliveries, newest first, and the cursor of the next one.

        Args:
            key: Whose.
            webhook_id: Of this webhook alone.
            job_id: About this job alone.
            status: `pending`, `delivered` or `dead`.
            cursor: Where the page begins.
            limit: Most of one page.

        Raises:
            NotFound: The webhook is not there.
            InvalidInput: The cursor is none.
        """
        query = select(deliveries).where(deliveries.c.key_id == key.id)
        if webhook_id is not None:
            await self.get(key, webhook_id)
            query = query.where(deliveries.c.webhook_id == webhook_id)
        if job_id is not None:
            query = query.where(deliveries.c.job_id == (job_id if is_id(job_id, "job") else ""))
        if status is not None:
            query = query.where(deliveries.c.status == status)
        make = DeliveryRecord.from_row
        return await self._db.page(query, deliveries.c.id, make, cursor, limit, prefix="dlv")

    async def delivery(self, key: KeyRecord, delivery_id: str) -> DeliveryRecord:
        """Return one delivery. Raises `NotFound`."""
        return await self._db.read(lambda connection: _delivery(connection, key, delivery_id))

    async def retry(self, key: KeyRecord, delivery_id: str) -> DeliveryRecord:
        """Deliver once more, with all attempts anew, what was delivered or is dead.

        Raises:
            NotFound: The delivery is not there.
            Conflict: It is being tried still, or its webhook is not active.
        """
        async with self._db.writing() as connection:
            found = await _delivery(connection, key, delivery_id)
            if found.status == "pending":
                raise Conflict("the delivery is still being tried; see next_attempt_at")
            if found.webhook_id is not None:
                _check_active(await _webhook(connection, key, found.webhook_id))
            values: dict[str, Any] = {
                "status": "pending",
                "attempt": 0,
                "next_at": now_us(),
                "finished_at": None,
            }
            await connection.execute(
                update(deliveries).where(deliveries.c.id == delivery_id).values(**values)
            )
        self._wake()
        return replace(found, **values)

    async def _change(self, key: KeyRecord, webhook_id: str, values: dict[str, Any]) -> WebhookRecord:
        values["updated_at"] = now_us()
        async with self._db.writing() as connection:
            before = await _webhook(connection, key, webhook_id)
            await connection.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))
        return WebhookRecord.from_row({**before.to_row(), **values})


async def _webhook(connection: AsyncConnection, key: KeyRecord, webhook_id: str) -> WebhookRecord:
    return WebhookRecord.from_row(await _one(connection, webhooks, key, webhook_id, "whk", "webhook"))


async def _delivery(connection: AsyncConnection, key: KeyRecord, delivery_id: str) -> DeliveryRecord:
    return DeliveryRecord.from_row(await _one(connection, deliveries, key, delivery_id, "dlv", "delivery"))


async def _one(
    connection: AsyncConnection, table: Table, key: KeyRecord, row_id: str, prefix: str, noun: str
) -> RowMapping:
    query = select(table).where(table.c.id == row_id, table.c.key_id == key.id)
    if is_id(row_id, prefix) and (row := (await connection.execute(query)).mappings().first()) is not None:
        return row
    raise NotFound(f"there is no such {noun}")


def _check_active(hook: WebhookRecord) -> None:
    if not hook.active:
        raise Conflict("the webhook is not active; switch it on first")


def _distinct(events: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(str(event) for event in events))


def _new_secret() -> str:
    return f"whsec_{secrets.token_urlsafe(32)}"
