"""Compiled programs kept on the host, so that the same source is compiled once.

An entry is `<folder>/<hash of the scope>/<key>`: a line that names the format, a line of JSON, the
guest's tar of the program, and the SHA-256 over all of that. Whoever made the program is in no way
trusted: an entry is only ever offered to the scope that made it, and the agent that unpacks it
refuses what leads out of its folder. Any number of processes may share the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, TypeVar

from emberbox.files.atomic import PARTIAL, AtomicFile, remove_partial
from emberbox.model import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
    from pathlib import Path

    from emberbox.config import CompileSettings

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

ENTRY_BYTES = 64 * MIB
"""Larger programs are not kept."""
ENTRY_FILES = 4096
"""Nor are folders of more entries."""
_FORMAT = b"emberbox-compiled-1\n"
_ABOUT_BYTES = MIB
_DIGEST_BYTES = hashlib.sha256().digest_size
_PIECE = MIB


@dataclass(slots=True)
class StoredProgram:
    """An entry that was found whole.

    `about` is what was stored with it; iterate `pieces` once, or `close` it.
    """

    path: Path
    about: Mapping[str, Any]
    _stream: IO[bytes]
    _left: int

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the tar; closes the entry."""
        try:
            while self._left and (
                piece := await asyncio.to_thread(self._stream.read, min(self._left, _PIECE))
            ):
                self._left -= len(piece)
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file. Repeating is harmless."""
        self._stream.close()

    def drop(self) -> None:
        """Remove the entry: what it holds is of no use."""
        self.path.unlink(missing_ok=True)


class CompileCache:
    """The part of the folder of compiled programs that one scope sees.

    Args:
        root: The folder; made at the first store.
        settings: How much is kept in all of it, and for how long.
        scope: Whose programs; None for those of this data folder's owner.
        made_by: What compiles, such as the key of an image: part of every entry's key.
    """

    def __init__(self, root: Path, settings: CompileSettings, scope: str | None, *made_by: str) -> None:
        self._root = root
        self._settings = settings
        self._folder = root / _digest(["own"] if scope is None else ["scope", scope])
        self._made_by = made_by

    def key(self, *parts: object) -> str:
        """Return the key of a program that is made from `parts`."""
        return _digest([*self._made_by, *parts])

    async def find(self, key: str) -> StoredProgram | None:
        """Return an entry, marked as just used; None where there is none, or it is too old or damaged."""
        return await asyncio.to_thread(self._find, key)

    def _find(self, key: str) -> StoredProgram | None:
        path = self._folder / key
        try:
            stream = path.open("rb")
        except OSError:
            return None
        try:
            known = os.fstat(stream.fileno())
            found = _read(path, stream, known.st_size) if self._fresh(known.st_mtime) else None
        except (OSError, ValueError) as error:
            _log.warning("a compiled program cannot be read: %s", error, extra={"action": "compiled.corrupt"})
            found = None
        if found is None:
            stream.close()
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    async def store(self, key: str, about: Mapping[str, Any], tar: AsyncIterable[bytes]) -> bool:
        """Keep a program. Whatever `tar` raises is passed on, and nothing kept.

        Returns:
            Whether it was kept: it is not when it is too large, or when the host's disk refuses it.
        """
        try:
            return await self._store(self._folder / key, about, tar)
        except _Refused as error:
            _log.warning("a compiled program is not kept: %s", error, extra={"action": "compiled.not_kept"})
            return False

    async def _store(self, path: Path, about: Mapping[str, Any], tar: AsyncIterable[bytes]) -> bool:
        await _on_disk(partial(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True))
        # Not durable: what a crash damages is found by its digest, and compiled again.
        made = await _on_disk(AtomicFile, path)
        try:
            head = _FORMAT + json.dumps(about).encode() + b"\n"
            await _on_disk(made.file.write, head)
            digest, size = hashlib.sha256(head), 0
            async for piece in tar:
                size += len(piece)
                if size > ENTRY_BYTES:
                    return False
                digest.update(piece)
                await _on_disk(made.file.write, piece)
            await _on_disk(made.file.write, digest.digest())
            await _on_disk(made.commit)
        finally:
            made.discard()
        await asyncio.to_thread(self._trim)
        return True

    def _fresh(self, modified_at: float) -> bool:
        """Tell whether an entry that was used last at this time (in Unix seconds) may still be used."""
        age_s = self._settings.cache_age_s
        return age_s == 0 or time.time() - modified_at <= age_s

    def _trim(self) -> None:
        """Remove what is too old, then what was not used for longest until all fits. Blocks.

        One scope gets half of the room.
        """
        for folder in self._root.glob("*/"):
            remove_partial(folder)
        room = self._settings.cache_mib * MIB
        entries = []
        for entry in sorted(self._entries()):
            if self._fresh(entry[0]):
                entries.append(entry)
            else:
                entry[2].unlink(missing_ok=True)
        removed = _remove_oldest([entry for entry in entries if entry[2].parent == self._folder], room // 2)
        _remove_oldest([entry for entry in entries if entry[2] not in removed], room)

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        for path in self._root.glob("*/*"):
            if path.name.startswith(PARTIAL):
                continue
            with contextlib.suppress(FileNotFoundError):
                known = path.stat()
                yield known.st_mtime, known.st_size, path


class _Refused(Exception):
    """The host's disk refuses an entry."""


async def _on_disk(work: Callable[..., _T], *arguments: object) -> _T:
    """Do something that blocks. What the disk refuses is told apart from what a guest's tar raises."""
    try:
        return await asyncio.to_thread(work, *arguments)
    except OSError as error:
        raise _Refused(str(error)) from error


def _read(path: Path, stream: IO[bytes], size: int) -> StoredProgram:
    digest, left = hashlib.sha256(), size - _DIGEST_BYTES
    if left > ENTRY_BYTES + _ABOUT_BYTES:
        raise ValueError(f"{path.name} is larger than any entry")
    while left > 0 and (piece := stream.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
    if left or digest.digest() != stream.read(_DIGEST_BYTES):
        raise ValueError(f"{path.name} is not what was stored")
    stream.seek(0)
    if stream.readline(len(_FORMAT)) != _FORMAT:
        raise ValueError(f"{path.name} has another format")
    about = json.loads(stream.readline(_ABOUT_BYTES))
    return StoredProgram(path, about, stream, size - _DIGEST_BYTES - stream.tell())


def _remove_oldest(entries: list[tuple[float, int, Path]], room: int) -> set[Path]:
    """Remove the oldest of sorted entries until the rest fits; returns what was removed."""
    removed: set[Path] = set()
    size = sum(entry[1] for entry in entries)
    for _, entry_size, path in entries:
        if size <= room:
            break
        path.unlink(missing_ok=True)
        removed.add(path)
        size -= entry_size
    return removed


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
