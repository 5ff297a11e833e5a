"""Scripts: uploads that can be run again and again. Each belongs to one key."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete, insert, select

from emberbox.errors import InvalidInput, NotFound
from emberbox.ids import is_id, new_id
from emberbox.schemas.base import Labels
from emberbox.service.uploads.entries import find_entry
from emberbox.store.database import Database, now_us
from emberbox.store.records import ContentRecord, KeyRecord, ScriptRecord
from emberbox.store.tables import scripts as table
from emberbox.text import has_hidden

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import Settings
    from emberbox.runtimes import RuntimeCatalog
    from emberbox.service.uploads.contents import Contents
    from emberbox.service.uploads.intake import Upload

_log = logging.getLogger(__name__)
_MAX_NAME_LENGTH = 255
MAX_PAGE = 1000
"""Most scripts of one page."""


class Scripts:
    """Stores scripts and hands them out. A script of another key is not found, like one that does not exist.

    Args:
        db: The database.
        contents: Where the files go.
        runtimes: The runtimes that there are.
        settings: The settings.
        quota: Called with the key and the bytes of a new script; raises `QuotaExceeded` when they
            are too many. None takes all.
    """

    def __init__(
        self,
        db: Database,
        contents: Contents,
        runtimes: RuntimeCatalog,
        settings: Settings,
        *,
        quota: Callable[[KeyRecord, int], Awaitable[None]] | None = None,
    ) -> None:
        self._db = db
        self._contents = contents
        self._runtimes = runtimes
        self._settings = settings
        self._quota = quota

    async def create(
        self,
        key: KeyRecord,
        upload: Upload,
        *,
        runtime: str | None,
        entry: str | None,
        name: str | None,
        labels: dict[str, str],
    ) -> ScriptRecord:
        """Store an upload as a script. Its files are stored when this returns; its scratch folder may go.

        Args:
            key: Whose it is.
            upload: The files.
            runtime: Name or alias; None tells it by the file that is run.
            entry: Path of the file that is run; None finds it by the runtime's rule.
            name: For people; None means the upload's own name.
            labels: For filters.

        Raises:
            InvalidInput: The name or a label cannot be used, or no file can be told to be the one to run.
            UnknownRuntime: There is no such runtime, or none for the file.
            QuotaExceeded: The key's storage is used up.
            NoSpace: The disk is full.
            StoreError: The database failed.
            BlobError: The blob store failed.
        """
        title = _check_name(upload.name if name is None else name)
        labels = _check_labels(labels)
        chosen, file = await asyncio.to_thread(find_entry, upload, self._runtimes, runtime, entry)
        if self._quota is not None:
            await self._quota(key, await asyncio.to_thread(lambda: sum(file.size for file in upload.files)))
        content = await self._store(upload)
        record = ScriptRecord(
            id=new_id("scr"),
            key_id=key.id,
            name=title,
            runtime=chosen.name,
            entry=file.path,
            content_sha=content.sha256,
            size=sum(int(listed["size"]) for listed in content.entries),
            file_count=len(content.entries),
            labels=labels,
            created_at=now_us(),
        )
        await self._db.change(insert(table), record.to_row())
        _log.info(
            "script %s stored",
            record.id,
            extra={"action": "scripts.created", "script": record.id, "key": key.id},
        )
        return record

    async def get(self, key: KeyRecord, script_id: str) -> ScriptRecord:
        """Return a script. Raises `NotFound`."""
        if is_id(script_id, "scr"):
            row = await self._db.row(select(table).where(*_own(key, script_id)))
            if row is not None:
                return ScriptRecord.from_row(row)
        raise _not_found()

    async def list(
        self,
        key: KeyRecord,
        *,
        cursor: str | None,
        limit: int,
        runtime: str | None = None,
        name: str | None = None,
        label: tuple[str, str] | None = None,
    ) -> tuple[list[ScriptRecord], str | None]:
        """Return a page of the key's scripts, newest first, and the cursor of the next page, if there is one.

        Args:
            key: Whose scripts.
            cursor: None for the first page, else what the page before returned.
            limit: Most scripts of the page, 1 to `MAX_PAGE`; cut to it.
            runtime: Only those of this runtime, by name or alias.
            name: Only those of exactly this name.
            label: Only those with this label and value.

        Raises:
            InvalidInput: The cursor was not given out by a page.
            UnknownRuntime: There is no such runtime.
        """
        limit = min(max(limit, 1), MAX_PAGE)
        query = select(table).where(table.c.key_id == key.id)
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
        mine = delete(table).where(*_own(key, script_id))
        if not is_id(script_id, "scr") or not await self._db.change(mine):
            raise _not_found()
        _log.info(
            "script %s deleted",
            script_id,
            extra={"action": "scripts.deleted", "script": script_id, "key": key.id},
        )

    async def _store(self, upload: Upload) -> ContentRecord:
        if len(upload.files) == 1:
            file = upload.files[0]
            return await self._contents.put_file(file.path, file.source, mode=file.mode)
        return await self._contents.put_bundle(upload.files)


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


def _own(key: KeyRecord, script_id: str) -> tuple[Any, ...]:
    return table.c.id == script_id, table.c.key_id == key.id


def _not_found() -> NotFound:
    return NotFound("there is no such script")
