"""What each key may use: bounds from the settings, or from the key itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from emberbox.errors import QuotaExceeded
from emberbox.store.tables import jobs, keys, scripts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.config import QuotaSettings
    from emberbox.store import Database
    from emberbox.store.records import KeyRecord

STORAGE_S = 5.0
"""For so long a key's stored bytes are not counted again; it may go over its bound by what comes in
meanwhile."""
KEYS_S = 2.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs a key may run at once: `of` by key id, `default` for the others; 0 means no bound."""

    default: int = 0
    of: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Tell whether any key has a bound."""
        return self.default > 0 or any(bound > 0 for bound in self.of.values())

    def __call__(self, key_id: str) -> int:
        """Return the bound of a key."""
        return self.of.get(key_id, self.default)


class Quotas:
    """Checks what keys ask for against what they may use.

    Args:
        db: Where it is counted.
        settings: The bounds of keys that have none of their own.
    """

    def __init__(self, db: Database, settings: QuotaSettings) -> None:
        self._db = db
        self._settings = settings
        self._stored: dict[str, tuple[float, int]] = {}
        self._own: dict[str, int] = {}
        self._own_read = float("-inf")

    def of(self, key: KeyRecord, name: str) -> float:
        """Return a key's bound, such as `queued_jobs`; 0 means none."""
        return float(key.quota.get(name, getattr(self._settings, name)))

    def bounds(self) -> Bounds:
        """Return the bounds of running jobs, as last read."""
        return Bounds(self._settings.concurrent_jobs, self._own)

    def learn(self, key: KeyRecord) -> None:
        """Take a key's own bound of running jobs over at once, before its first job may start."""
        if "concurrent_jobs" in key.quota:
            self._own[key.id] = int(key.quota["concurrent_jobs"])

    async def refresh(self) -> None:
        """Read the keys' own bounds of running jobs again, if that is some time ago."""
        if time.monotonic() - self._own_read < KEYS_S:
            return
        rows = await self._db.rows(select(keys.c.id, keys.c.quota).where(keys.c.revoked_at.is_(None)))
        self._own = {
            row["id"]: int(row["quota"]["concurrent_jobs"])
            for row in rows
            if "concurrent_jobs" in row["quota"]
        }
        self._own_read = time.monotonic()

    async def check_storage(self, key: KeyRecord, more: int = 0) -> None:
        """Check whether a key may store `more` bytes. Raises `QuotaExceeded`."""
        bound = self.of(key, "storage_bytes")
        if not bound:
            return
        used = await self.stored(key)
        if used + more > bound:
            raise QuotaExceeded(
                f"this key stores {used} bytes and asks for {more} more; "
                f"its share is {bound:.0f}. Delete scripts or jobs"
            )

    async def stored(self, key: KeyRecord) -> int:
        """Return how many bytes of scripts, logs and artifacts a key has."""
        counted, used = self._stored.get(key.id, (float("-inf"), 0))
        if time.monotonic() - counted < STORAGE_S:
            return used
        used = 0
        for size, owner in ((jobs.c.storage_bytes, jobs.c.key_id), (scripts.c.size, scripts.c.key_id)):
            used += int(await self._db.scalar(select(func.sum(size)).where(owner == key.id)) or 0)
        self._stored[key.id] = (time.monotonic(), used)
        return used
