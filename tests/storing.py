"""What stores things, for tests that do not go through the whole service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.config import CeilingSettings, QuotaSettings
from emberbox.service.accounts.quota import Quotas
from emberbox.service.accounts.reservations import Reservation, Reservations
from emberbox.service.uploads.contents import Contents, insert_contents
from emberbox.service.uploads.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.runtimes import RuntimeCatalog
    from emberbox.service.uploads.bundles import BundleFile, Plan
    from emberbox.store import Database
    from emberbox.store.records import ContentRecord


def quotas_of(db: Database, quota: QuotaSettings | None = None, *, places: int = 4) -> Quotas:
    """The quotas of the settings, or others."""
    return Quotas(db, quota or QuotaSettings(), CeilingSettings(), places=places)


def reservations_of(db: Database) -> Reservations:
    """Promises of a disk without an end."""
    return Reservations(db, lambda size: None)


def boundless(db: Database | None = None) -> Reservation:
    """A promise without bounds."""
    return reservations_of(db).begin([])  # type: ignore[arg-type]  # without shares nothing is looked up


def scripts_of(
    db: Database, contents: Contents, runtimes: RuntimeCatalog, quota: QuotaSettings | None = None
) -> Scripts:
    """Scripts under the quotas of the settings, or others."""
    return Scripts(db, contents, runtimes, quotas=quotas_of(db, quota), reservations=reservations_of(db))


class StoredContents(Contents):
    """Contents that are stored by themselves, and not with a script or a job."""

    async def put_file(self, name: str, source: bytes | Path, *, mode: int = 0o644) -> ContentRecord:
        """Store one file as it is."""
        return await self._put(await self.plan_file(name, source, mode=mode))

    async def put_bundle(self, files: Sequence[BundleFile]) -> ContentRecord:
        """Store files together as an archive."""
        return await self._put(await self.plan_bundle(files))

    async def _put(self, planned: Plan) -> ContentRecord:
        async with self.prepared([planned]) as made:
            await self._db.write(lambda connection: insert_contents(connection, made))
        return await self.get(planned.sha256)
