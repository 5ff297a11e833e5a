"""Deletes what has outlived its time, again and again, in small steps that hold nobody up."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn

from emberbox.errors import EmberboxError
from emberbox.service.upkeep.expiry import (
    BATCH,
    Expired,
    expire_artifacts,
    expire_contents,
    expire_deliveries,
    expire_idempotency,
    expire_jobs,
    expire_logs,
    expire_scripts,
)
from emberbox.service.upkeep.orphans import GRACE_S, remove_old_uploads, remove_orphan_blobs
from emberbox.service.uploads.contents import KEPT_US
from emberbox.store.database import Database, now_us

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.blobs import BlobStore
    from emberbox.config import Settings

    _Step = Callable[[Database, int], Awaitable[Expired]]

_log = logging.getLogger(__name__)

MAX_STEPS = 50
"""Steps of one kind in one sweep; what is left is the next sweep's."""
ORPHANS_EVERY_S = 3600.0
"""How often the blob store is listed, in seconds."""
_LEAST_PAUSE_S = 1.0
_JITTER = 0.1


@dataclass(slots=True)
class SweepReport:
    """How many of each kind one sweep deleted.

    `orphans` are blobs without a row; `leftovers` halves of blobs and of uploads.
    `failed` counts kinds that could not be swept; they are tried again in the next sweep.
    """

    jobs: int = 0
    logs: int = 0
    artifacts: int = 0
    scripts: int = 0
    deliveries: int = 0
    idempotency: int = 0
    contents: int = 0
    orphans: int = 0
    leftovers: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        """All that was deleted."""
        counts: dict[str, int] = asdict(self)
        return sum(counts.values()) - self.failed


class Sweeper:
    """Deletes by the policy of `RetentionSettings`. Several services on one database may each have one.

    Args:
        db: The database.
        blobs: The blob store.
        settings: For the ages, the interval and the data folder.
        forget: Called after rows of jobs were deleted or emptied, for those who remember some.
    """

    def __init__(
        self, db: Database, blobs: BlobStore, settings: Settings, *, forget: Callable[[], object]
    ) -> None:
        self._db = db
        self._blobs = blobs
        self._settings = settings
        self._forget = forget
        self._logs_done: tuple[int, str] = (0, "")
        self._listed_at: float | None = None

    async def run(self) -> NoReturn:
        """Sweep until cancelled, at the settings' interval with some jitter.

        Failures are logged, and tried again later.
        """
        while True:
            pause_s = max(self._settings.retention.sweep_s, _LEAST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311
            report = await self.sweep()
            if report.total:
                _log.info("swept: %s", report, extra={"action": "retention.swept", "deleted": report.total})

    async def sweep(self) -> SweepReport:
        """Delete what is due now. One kind that fails does not stop the others.

        May be cancelled and repeated.
        """
        report, ages = SweepReport(), self._settings.retention
        # Jobs first: what goes with them need not be looked for.
        logs_s = ages.logs_s if not ages.jobs_s or ages.logs_s < ages.jobs_s else 0
        steps: tuple[tuple[str, float, _Step], ...] = (
            ("jobs", ages.jobs_s, expire_jobs),
            ("logs", logs_s, self._expire_logs),
            ("artifacts", ages.artifacts_s, expire_artifacts),
            ("scripts", ages.scripts_s, expire_scripts),
            ("deliveries", ages.deliveries_s, expire_deliveries),
            ("idempotency", ages.idempotency_s, expire_idempotency),
            ("contents", KEPT_US / 1_000_000, expire_contents),
        )
        for kind, age_s, step in steps:
            if age_s:
                await self._expire(report, kind, age_s, step)
        await self._tidy(report)
        if report.jobs + report.logs + report.artifacts:
            self._forget()
        return report

    async def _expire(self, report: SweepReport, kind: str, age_s: float, step: _Step) -> None:
        before = now_us() - int(age_s * 1_000_000)
        try:
            for _ in range(MAX_STEPS):
                expired = await step(self._db, before)
                setattr(report, kind, getattr(report, kind) + expired.rows)
                if expired.blob_keys:
                    await self._blobs.delete(expired.blob_keys)
                if expired.rows < BATCH:
                    break
        except EmberboxError as error:
            self._failed(report, kind, error)

    async def _expire_logs(self, db: Database, before: int) -> Expired:
        expired, self._logs_done = await expire_logs(db, self._logs_done, before)
        return expired

    async def _tidy(self, report: SweepReport) -> None:
        now = time.monotonic()
        if self._listed_at is not None and now - self._listed_at < ORPHANS_EVERY_S:
            return
        self._listed_at = now
        try:
            report.orphans += await remove_orphan_blobs(self._db, self._blobs)
            report.leftovers += await self._blobs.tidy(GRACE_S)
            report.leftovers += await remove_old_uploads(self._settings.data)
        except (EmberboxError, OSError) as error:
            self._failed(report, "orphans", error)

    def _failed(self, report: SweepReport, kind: str, error: Exception) -> None:
        report.failed += 1
        _log.warning(
            "%s could not be swept: %s", kind, error, extra={"action": "retention.failed", "kind": kind}
        )
