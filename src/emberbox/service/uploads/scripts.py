"""Scripts: uploads that can be run again and again. Each belongs to one team."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from emberbox.errors import InvalidInput, NotFound
from emberbox.ids import is_id, new_id
from emberbox.schemas.base import Labels
from emberbox.service.accounts.holdings import Ledger, owners
from emberbox.service.ownership import listed, within_reach
from emberbox.service.uploads.contents import insert_contents
from emberbox.service.uploads.entries import find_entry
from emberbox.service.uploads.script_rows import delete_scripts
from emberbox.store.database import Database, now_us
from emberbox.store.records import ContentRecord, KeyRecord, ScriptRecord
from emberbox.store.tables import scripts as table
from emberbox.text import has_hidden

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from emberbox.runtimes import RuntimeCatalog
    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.accounts.reservations import Reservation, Reservations
    from emberbox.service.uploads.bundles import Plan
    from emberbox.service.uploads.contents import Contents
    from emberbox.service.uploads.intake import Upload

_log = logging.getLogger(__name__)
_MAX_NAME_LENGTH = 255
MAX_PAGE = 1000
"""Most scripts of one page."""


class Scripts:
    """Stores scripts and hands them out. What a key does not reach is not found, like what is not there.

    Args:
        db: The database.
        contents: Where the files go.
        runtimes: The runtimes that there are.
        quotas: What each team may store.
        reservations: Promises of what is on its way.
    """

    def __init__(
        self,
        db: Database,
        contents: Contents,
        runtimes: RuntimeCatalog,
        quotas: Quotas,
        reservations: Reservations,
    ) -> None:
        self._db = db
        self._contents = contents
        self._runtimes = runtimes
        self._quotas = quotas
        self._reservations = reservations

    def reserve(self, key: KeyRecord) -> Reservation:
        """Return a promise of room for an upload, to be used by `with`; nothing is promised yet."""
        return self._reservations.begin(self._quotas.shares(key, "storage_bytes"))

    async def create(
        self,
        key: KeyRecord,
        upload: Upload,
        room: Reservation,
        *,
        runtime: str | None,
        entry: str | None,
        name: str | None,
        labels: dict[str, str],
    ) -> ScriptRecord:
        """Store an upload as a script. Its files are stored when this returns; its scratch folder may go.

        Args:
            key: Who uploads it; its team owns it.
            upload: The files.
            room: What is promised for it.
            runtime: Name or alias; None tells it by the file that is run.
            entry: Path of the file that is run; None finds it by the runtime's rule.
            name: For people; None means the upload's own name.
            labels: For filters.

        Raises:
            InvalidInput: The name or a label cannot be used, or no file can be told to be the one to run.
            UnknownRuntime: There is no such runtime, or none for the file.
            QuotaExceeded: The storage of the key or its team is used up.
            NoSpace: The disk is full.
            StoreError: The database failed.
            BlobError: The blob store failed.
        """
        title = _check_name(upload.name if name is None else name)
        labels = _check_labels(labels)
        chosen, file = await asyncio.to_thread(find_entry, upload, self._runtimes, runtime, entry)
        planned = await self._plan(upload)
        room.keep(planned.size)
        room.write(planned.size)
        record = ScriptRecord(
            id=new_id("scr"),
            team_id=key.team_id,
            key_id=key.id,
            name=title,
            runtime=chosen.name,
            entry=file.path,
            content_sha=planned.sha256,
            size=sum(listed.size for listed in planned.files),
            file_count=len(planned.files),
            labels=labels,
            created_at=now_us(),
        )
        try:
            await self._write(key, record, planned)
        except IntegrityError:
            # The same content was there, and was deleted at this moment.
            await self._write(key, record, planned)
        _log.info(
            "script %s stored",
            record.id,
            extra={"action": "scripts.created", "script": record.id, "key": key.id},
        )
        return record

    async def get(self, key: KeyRecord, script_id: str) -> ScriptRecord:
        """Return a script. Raises `NotFound`."""
        if is_id(script_id, "scr"):
            row = await self._db.row(select(table).where(*_reached(key, script_id)))
            if row is not None:
                return ScriptRecord.from_row(row)
        raise _not_found()

    async def list(
        self,
        key: KeyRecord,
        *,
        team: str | None = None,
        cursor: str | None,
        limit: int,
        runtime: str | None = None,
        name: str | None = None,
        label: tuple[str, str] | None = None,
    ) -> tuple[list[ScriptRecord], str | None]:
        """Return a page of a team's scripts, newest first, and the cursor of the next page, if there is one.

        Args:
            key: The caller's.
            team: As `team_of_list` takes it.
            cursor: None for the first page, else what the page before returned.
            limit: Most scripts of the page, 1 to `MAX_PAGE`; cut to it.
            runtime: Only those of this runtime, by name or alias.
            name: Only those of exactly this name.
            label: Only those with this label and value.

        Raises:
            NotAllowed: The key may not see that team's.
            InvalidInput: The cursor was not given out by a page, or `team` is no team's id.
            UnknownRuntime: There is no such runtime.
        """
        limit = min(max(limit, 1), MAX_PAGE)
        query = select(table).where(listed(key, table, team))
        if runtime is not None:
            query = query.where(table.c.runtime == self._runtimes.get(runtime).name)
        if name is not None:
            query = query.where(table.c.name == name)
        if label is not None:
            query = query.where(table.c.labels[label[0]].as_string() == label[1])
        return await self._db.page(query, table.c.id, ScriptRecord.from_row, cursor, limit, prefix="scr")

    async def content(self, key: KeyRecord, script_id: str) -> tuple[ScriptRecord, ContentRecord]:
        """Return a script and what it consists of. Raises `NotFound`."""
        script = await self.get(key, script_id)
        return script, await self._contents.get(script.content_sha)

    async def delete(self, key: KeyRecord, script_id: str) -> None:
        """Delete a script. Its jobs stay, and those that wait are run: they hold on to its files.

        Raises `NotFound`.
        """
        if not is_id(script_id, "scr"):
            raise _not_found()
        mine = _reached(key, script_id)
        deleted = await self._db.write(lambda connection: delete_scripts(connection, *mine))
        if not deleted.count:
            raise _not_found()
        await self._contents.remove_unheld(deleted.loose)
        _log.info(
            "script %s deleted",
            script_id,
            extra={"action": "scripts.deleted", "script": script_id, "key": key.id},
        )

    async def _plan(self, upload: Upload) -> Plan:
        if len(upload.files) == 1:
            file = upload.files[0]
            return await self._contents.plan_file(file.path, file.source, mode=file.mode)
        return await self._contents.plan_bundle(upload.files)

    async def _write(self, key: KeyRecord, record: ScriptRecord, planned: Plan) -> None:
        """Write a script's row with its content, charged to its team.

        Raises `QuotaExceeded`: nothing is kept.
        """
        parts = {planned.sha256: planned.size}
        shares = self._quotas.shares(key, "storage_bytes")
        async with self._contents.prepared([planned]) as made:

            async def write(connection: AsyncConnection) -> None:
                ledger = Ledger(connection)
                await ledger.open(owners(record), parts)
                ledger.check(shares, parts, 0)
                ledger.add(record, parts, parts, 0)
                await insert_contents(connection, made)
                await connection.execute(insert(table), record.to_row())
                await ledger.write()

            await self._db.write(write)


_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


def _check_name(name: str) -> str:
    if not 1 <= len(name) <= _MAX_NAME_LENGTH or has_hidden(name):
        raise InvalidInput(
            f"a script's name must be 1 to {_MAX_NAME_LENGTH} characters that are seen, on one line"
        )
    return name


def _check_labels(labels: dict[str, str]) -> dict[str, str]:
    try:
        return _LABELS.validate_python(labels)
    except ValidationError as error:
        raise InvalidInput(
            "labels must be at most 32 names of up to 63 letters, digits and '_.-/', "
            "with values of up to 200 characters",
            detail=str(error.errors(include_input=False)),
        ) from None


def _reached(key: KeyRecord, script_id: str) -> tuple[Any, ...]:
    return table.c.id == script_id, within_reach(key, table)


def _not_found() -> NotFound:
    return NotFound("there is no such script")
