"""Files that a job leaves behind: collected from its sandbox after the run, kept in the blob store.

What a guest says of its files is not believed: sizes are counted, names take a form that no
terminal or header trips over, and links that are found, devices and folders are passed over.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import select

from emberbox.errors import (
    BlobError,
    EmberboxError,
    GuestRequestFailed,
    InvalidPath,
    NoSpace,
    NotFound,
    QuotaExceeded,
)
from emberbox.files.globs import Glob, parse_glob
from emberbox.files.paths import readable, stays_below
from emberbox.ids import is_id, new_id
from emberbox.sandbox.outputs import OUTPUT_FOLDER, READ_S, output_entries
from emberbox.store.database import Database, now_us
from emberbox.store.records import ArtifactRecord, JobRecord
from emberbox.store.tables import artifacts as table
from emberbox.tasks import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from emberbox.blobs import BlobStore
    from emberbox.config import Settings
    from emberbox.model import FileEntry
    from emberbox.sandbox.files import SandboxFiles
    from emberbox.service.accounts.reservations import Reservation

_log = logging.getLogger(__name__)

MAX_ENTRIES = 20_000
"""Most entries of one folder tree that are looked at."""
_MAX_NOTES = 10


@dataclass(frozen=True, slots=True)
class Collected:
    """What was kept, and what was not: `notes` are for people.

    The rows are not written yet, the bytes are.
    """

    records: list[ArtifactRecord]
    notes: list[str]


@dataclass(slots=True)
class _Harvest:
    """A collection under way."""

    sandbox: SandboxFiles
    job_id: str
    files_left: int
    bytes_left: int
    room: Reservation
    records: list[ArtifactRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unnoted: int = 0

    def note(self, text: str) -> None:
        if len(self.notes) < _MAX_NOTES:
            self.notes.append(text)
        else:
            self.unnoted += 1

    def collected(self) -> Collected:
        more = [f"{self.unnoted} more files or patterns were left out"] if self.unnoted else []
        return Collected(self.records, self.notes + more)


class _LeftOut(Exception):
    """A file is not kept; the text says why."""


class Artifacts:
    """Collects, lists and hands out what jobs leave behind."""

    def __init__(self, db: Database, blobs: BlobStore, settings: Settings) -> None:
        self._db = db
        self._blobs = blobs
        self._settings = settings

    async def collect(
        self,
        sandbox: SandboxFiles,
        job: JobRecord,
        room: Reservation,
        *,
        left_files: bool = False,
        within_s: float = READ_S,
    ) -> Collected:
        """Store the files that the job's globs name and those of its output folder, after its end.

        Globs (see `emberbox.files.globs`) are relative to the work folder. One without a sign of globs that
        names a folder means all files below it. A link that is named outright stands for the file behind it,
        in the sandbox; links that are found are passed over. Files of the output folder get names below it;
        one that a glob names as well, or whose name is taken, its whole path.

        At most `jobs.artifact_files` files and `jobs.artifact_bytes` bytes, in the order of their
        paths. What does not fit or cannot be read is left out, with a note; a file that changes
        meanwhile is kept as it was read. Never raises for what the guest or the disk does: a run
        that has ended stays ended. May be cancelled; then nothing is left.

        Args:
            sandbox: Where the program ran.
            job: Whose globs count.
            room: Promises the files' bytes as they come; what it does not is left out, with a note.
            left_files: False where nothing lies in the output folder, which then is not looked at.
            within_s: How long all of it may take, in seconds; what is not read by then is left out.

        Returns:
            Records whose rows the caller writes, or that it gives to `discard`.
        """
        bounds = self._settings.jobs
        harvest = _Harvest(sandbox, job.id, bounds.artifact_files, bounds.artifact_bytes, room)
        try:
            async with asyncio.timeout(within_s):
                await self._harvest(harvest, job.spec.artifacts, left_files=left_files)
        except TimeoutError:
            harvest.note(f"the files took longer than {within_s:g} s to read; the rest was left out")
        except EmberboxError as error:
            harvest.note(f"the files that were left could not be kept: {error.message}")
            _log.warning(
                "artifacts of %s: %s", job.id, error, extra={"action": "artifacts.incomplete", "job": job.id}
            )
        except BaseException:
            await shielded(self.discard(harvest.collected()))
            raise
        return harvest.collected()

    async def discard(self, collected: Collected) -> None:
        """Delete what was collected. Never raises: what stays is found by the sweeper.

        Repeating is harmless.
        """
        try:
            await self._blobs.delete([record.blob_key for record in collected.records])
        except EmberboxError as error:
            _log.warning(
                "artifacts could not be deleted: %s", error, extra={"action": "artifacts.discard_failed"}
            )

    async def list(self, job_id: str) -> list[ArtifactRecord]:
        """Return a job's artifacts by path; empty for a job without any, or that does not exist."""
        query = select(table).where(table.c.job_id == job_id).order_by(table.c.path, table.c.id)
        return [ArtifactRecord.from_row(row) for row in await self._db.rows(query)]

    async def get(self, job_id: str, artifact_id: str) -> ArtifactRecord:
        """Return one artifact of a job. Raises `NotFound`."""
        if is_id(artifact_id, "art"):
            query = select(table).where(table.c.id == artifact_id, table.c.job_id == job_id)
            if (row := await self._db.row(query)) is not None:
                return ArtifactRecord.from_row(row)
        raise NotFound("there is no such artifact; it may have been deleted after its time")

    def stream(
        self, artifact: ArtifactRecord, *, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield an artifact's bytes in pieces.

        Raises `NotFound` when it was deleted meanwhile, and `BlobError`.
        """
        return self._blobs.stream(artifact.blob_key, offset=offset, length=length)

    async def _harvest(self, harvest: _Harvest, patterns: Any, *, left_files: bool) -> None:
        found: dict[str, FileEntry] = {}
        for pattern in patterns:
            found.update(await _find(harvest, pattern))
        for path in sorted(found):
            await self._keep(harvest, path, found[path], readable(path))
        for entry in await _outputs(harvest) if left_files else ():
            path = f"{OUTPUT_FOLDER}/{entry.name}"
            if path not in found:
                await self._keep(harvest, path, entry, readable(path if entry.name in found else entry.name))

    async def _keep(self, harvest: _Harvest, path: str, entry: FileEntry, shown: str) -> None:
        try:
            if harvest.files_left <= 0:
                raise _LeftOut(f"{self._settings.jobs.artifact_files} files are kept at most")
            record = await self._store(harvest, path, entry, shown)
        except _LeftOut as error:
            reason = str(error)
        except GuestRequestFailed as error:
            reason = readable(error.message)[:200]
        except (QuotaExceeded, NoSpace, BlobError) as error:
            reason = error.message
        else:
            harvest.files_left -= 1
            harvest.bytes_left -= record.size
            harvest.records.append(record)
            return
        harvest.note(f"{shown[:200]} was left out: {reason}")

    async def _store(self, harvest: _Harvest, path: str, entry: FileEntry, shown: str) -> ArtifactRecord:
        digest, size, most = hashlib.sha256(), 0, harvest.bytes_left
        room, before = harvest.room, harvest.room.kept
        too_large = _LeftOut(f"{self._settings.jobs.artifact_bytes} bytes are kept at most")
        if entry.size > most:
            raise too_large

        async def counted() -> AsyncGenerator[bytes, None]:
            nonlocal size
            stream = cast("AsyncGenerator[bytes, None]", harvest.sandbox.stream_file(path, limit=most + 1))
            async with aclosing(stream) as pieces:
                async for piece in pieces:
                    size += len(piece)
                    if size > most:
                        raise too_large
                    room.keep(before + size)
                    room.write(len(piece))
                    digest.update(piece)
                    yield piece

        key = f"artifacts/{harvest.job_id}/{secrets.token_hex(16)}"
        try:
            async with aclosing(counted()) as pieces:
                await self._blobs.put(key, pieces)
        except BaseException:
            room.shrink(before)
            raise
        return ArtifactRecord(
            id=new_id("art"),
            job_id=harvest.job_id,
            path=shown,
            size=size,
            sha256=digest.hexdigest(),
            blob_key=key,
            created_at=now_us(),
        )


async def _outputs(harvest: _Harvest) -> list[FileEntry]:
    """Return the files of the output folder."""
    try:
        return await output_entries(harvest.sandbox)
    except GuestRequestFailed as error:
        harvest.note(f"the output folder cannot be read: {readable(error.message)[:200]}")
        return []


async def _find(harvest: _Harvest, pattern: str) -> dict[str, FileEntry]:
    """Return the files of the sandbox that a pattern names, by path."""
    try:
        glob = parse_glob(pattern)
        if glob.folder != "." and not glob.parts:
            named = await harvest.sandbox.stat_file(glob.folder)
            if named.type != "directory":
                return {glob.folder: named} if named.type == "file" else {}
        deep = glob.recursive or not glob.parts
        entries = await harvest.sandbox.list_files(glob.folder, recursive=deep, max_entries=MAX_ENTRIES)
        return await asyncio.to_thread(_matching, glob, entries)
    except GuestRequestFailed as error:
        if error.reason != "not_found":
            harvest.note(f"nothing of {readable(pattern)[:200]} was kept: {readable(error.message)[:200]}")
        return {}
    except InvalidPath as error:
        harvest.note(f"nothing of {readable(pattern)[:200]} was kept: {error.message}")
        return {}


def _matching(glob: Glob, entries: list[FileEntry]) -> dict[str, FileEntry]:
    prefix = "" if glob.folder == "." else f"{glob.folder}/"
    return {
        prefix + entry.name: entry
        for entry in entries
        if entry.type == "file" and stays_below(prefix + entry.name) and glob.matches(entry.name)
    }
