"""Delivers the news in the outbox, in fair shares: each again and again until it arrives or is dead."""

from __future__ import annotations

import asyncio
import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Never

from emberbox.errors import SecretsUnavailable
from emberbox.net.backoff import Backoff
from emberbox.net.names import SystemResolver
from emberbox.schemas.signatures import DELIVERY_HEADER, EVENT_HEADER, SIGNATURE_HEADER, sign
from emberbox.service.secrets.places import job_webhook, webhook_secret
from emberbox.service.webhooks.lanes import Lanes
from emberbox.service.webhooks.outbox import Outbox, history_entry
from emberbox.service.webhooks.sender import Reply, Sender
from emberbox.store.database import Database, now_us
from emberbox.tasks import TaskKeeper, set_within, shielded
from emberbox.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import Settings
    from emberbox.service.secrets.vault import Vault
    from emberbox.store.records import ClaimedDelivery

_log = logging.getLogger(__name__)

LEASE_MARGIN_S = 20.0

_CANDIDATES = 256
_IDLE_S = 2.0
_GATHER_S = 0.01
_FAILED_S = 1.0


class Dispatcher:
    """Works on the outbox as long as `run` runs. Any number of them may work on one database.

    A delivery is claimed with a lease: one whose dispatcher is killed is attempted again when the
    lease ends, by whoever is there. A receiver may thus get the same delivery twice.

    Args:
        db: The database.
        settings: Their group `webhooks`.
        vault: Opens the secrets that sign them.
        count: Called with the outcome of each attempt: `delivered`, `failed` (it will be tried
            again) or `dead`; None tells nobody.
        lease_margin_s: By how much a lease outlasts the longest attempt, in seconds.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        vault: Vault,
        count: Callable[[str], None] | None = None,
        *,
        lease_margin_s: float = LEASE_MARGIN_S,
    ) -> None:
        self._settings = settings.webhooks
        self._vault = vault
        self._count = count
        self._lease_s = settings.webhooks.timeout_s + lease_margin_s
        self._backoff = Backoff(
            first_s=self._settings.retry_s,
            longest_s=self._settings.retry_max_s,
            jitter=1.0,
            retries=self._settings.attempts - 1,
        )
        self._outbox = Outbox(db)
        self._concurrency = max(1, self._settings.concurrency)
        self._lanes = Lanes(self._concurrency)
        self._woken = asyncio.Event()
        self._agent = f"Emberbox/{version('emberbox')}"

    def wake(self) -> None:
        """Look for what is due now. To be called after a transaction that added deliveries; costs nothing."""
        self._woken.set()

    async def pending(self) -> int:
        """Count the deliveries that are still to be made. Raises `StoreError`."""
        return await self._outbox.pending()

    async def run(self) -> Never:
        """Deliver until cancelled. Attempts that are under way then are given back, and are due at once."""
        names = SystemResolver(self._concurrency)
        sender, attempts = Sender(self._settings, names), TaskKeeper()
        self._lanes = Lanes(self._concurrency)
        try:
            while True:
                self._woken.clear()
                began = time.monotonic()
                try:
                    # A connection to the database that is dropped in the middle of a query would
                    # be lost to its pool.
                    wait_s = await shielded(self._step(sender, attempts))
                except Exception as error:
                    _log.warning(
                        "deliveries stand still: %s",
                        error,
                        extra={"action": "webhooks.failed"},
                        exc_info=error,
                    )
                    wait_s = _FAILED_S
                if wait_s > 0:
                    await self._rest(wait_s, time.monotonic() - began)
        finally:
            await shielded(attempts.cancel())
            names.close()

    async def _step(self, sender: Sender, attempts: TaskKeeper) -> float:
        """Start some of what may be started now; return how long there is nothing more to do, in seconds."""
        if self._lanes.free <= 0:
            return _IDLE_S
        now, first = now_us(), await self._outbox.next_at()
        if first is None or first > now:
            return _until(first)
        full_lanes, full_keys = self._lanes.full()
        picked = self._lanes.pick(await self._outbox.due(now, _CANDIDATES, lanes=full_lanes, keys=full_keys))
        if not picked:
            # What is due waits for its lane or key: the end of another attempt wakes this loop.
            return _until(await self._outbox.next_at(after=now))
        for claimed in await self._outbox.claim([one.id for one in picked], self._lease_s):
            self._lanes.enter(claimed.lane, claimed.key_id)
            attempts.start(self._attempt(sender, claimed), f"webhook-{claimed.id}")
        return 0.0

    async def _rest(self, wait_s: float, looked_s: float) -> None:
        if await set_within(self._woken, wait_s):
            # Many ends of jobs in a moment are one look at the outbox, and a look that takes long
            # is not taken often.
            await asyncio.sleep(min(_IDLE_S, max(_GATHER_S, 4 * looked_s)))

    async def _attempt(self, sender: Sender, claimed: ClaimedDelivery) -> None:
        began, good = time.monotonic(), False
        try:
            reply = await self._send(sender, claimed)
            good = reply.error is None
            await shielded(self._record(claimed, reply))
        finally:
            self._lanes.leave(claimed.lane, claimed.key_id, good=good, took_s=time.monotonic() - began)
            self._woken.set()

    async def _send(self, sender: Sender, claimed: ClaimedDelivery) -> Reply:
        try:
            headers, body = self._headers(claimed), claimed.payload.encode()
        except SecretsUnavailable as error:
            return Reply(error=f"it cannot be signed: {error.message}")
        try:
            return await sender.send(claimed.url, headers, body)
        except asyncio.CancelledError:
            await shielded(self._outbox.release(claimed))
            raise

    async def _record(self, claimed: ClaimedDelivery, reply: Reply) -> None:
        status, next_at = self._verdict(claimed, reply)
        entry = history_entry(
            claimed.attempt,
            status=reply.status,
            duration_ms=reply.duration_ms,
            error=reply.error,
            response=_readable(reply.body, self._secret(claimed) if reply.body else ""),
        )
        if reply.status == 410 and claimed.webhook_id is not None:
            await self._outbox.deactivate(claimed.webhook_id)
        await self._outbox.finish(claimed, status, entry, next_at=next_at)
        outcome = "failed" if status == "pending" else status
        facts = {
            "delivery_id": claimed.id,
            "attempt": claimed.attempt,
            "outcome": outcome,
            "status": reply.status,
        }
        _log.info("delivery %s: %s", claimed.id, outcome, extra={"action": "webhooks.attempted", **facts})
        if self._count is not None:
            self._count(outcome)

    def _verdict(self, claimed: ClaimedDelivery, reply: Reply) -> tuple[str, int | None]:
        if reply.error is None:
            return "delivered", None
        asked_s = min(reply.retry_after_s or 0.0, self._settings.retry_max_s)
        pause_s = self._backoff.next_s(claimed.attempt, asked_s=asked_s)
        if reply.status == 410 or pause_s is None:
            return "dead", None
        return "pending", now_us() + round(pause_s * 1_000_000)

    def _headers(self, claimed: ClaimedDelivery) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._agent,
            EVENT_HEADER: claimed.event,
            DELIVERY_HEADER: claimed.id,
        }
        if secret := self._secret(claimed):
            headers[SIGNATURE_HEADER] = sign(claimed.payload.encode(), secret, int(time.time()))
        return headers

    def _secret(self, claimed: ClaimedDelivery) -> str:
        """Return what signs a delivery; empty for an unsigned one. Raises `SecretsUnavailable`."""
        if not claimed.secret:
            return ""
        hook, job = claimed.webhook_id, claimed.job_id or ""
        return self._vault.unseal(claimed.secret, webhook_secret(hook) if hook else job_webhook(job))


def _until(at: int | None) -> float:
    return _IDLE_S if at is None else min(_IDLE_S, max(0.0, (at - now_us()) / 1_000_000) + 0.001)


def _readable(body: bytes, secret: str) -> str | None:
    """Return the body's beginning as text, the hidden written out, without a secret that was sent back."""
    text = body.decode("utf-8", "replace")
    if secret:
        text = text.replace(secret, "[secret]")
    return escaped(text, lines=True) or None
