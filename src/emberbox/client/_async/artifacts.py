"""Files that jobs left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from emberbox.client._async.pages import all_pages
from emberbox.client.places import unreachable
from emberbox.client.waiting import async_call
from emberbox.errors import InvalidPath, NotFound
from emberbox.files.atomic import AtomicFile
from emberbox.files.paths import stays_below
from emberbox.schemas.jobs import Artifact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from emberbox.client._async.transport import AsyncTransport


class AsyncArtifacts:
    """The artifacts of a job, whose path on the server each call is given."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def list(self, job: str) -> AsyncIterator[Artifact]:
        """Yield them all."""
        return all_pages(self._transport, Artifact, f"{job}/artifacts")

    async def find(self, job: str, artifact: Artifact | str) -> Artifact:
        """Return an artifact by its id or path. Raises `NotFound`."""
        if isinstance(artifact, Artifact):
            return artifact
        return _named([found async for found in self.list(job)], artifact)

    async def read(self, job: str, artifact: Artifact | str) -> bytes:
        """Return an artifact's content."""
        found = await self.find(job, artifact)
        return await self._transport.content(_content(job, found))

    async def download(self, job: str, artifact: Artifact | str, to: Path | str | None) -> Path:
        """Fetch an artifact into a file, whole or not at all."""
        found = await self.find(job, artifact)
        return await self._save(job, found, await async_call(_target, found, to))

    async def download_all(self, job: str, folder: Path, only: Sequence[str] | None) -> Sequence[Path]:
        """Fetch several artifacts, or all, below a folder."""
        known = [artifact async for artifact in self.list(job)]
        wanted = known if only is None else [_named(known, name) for name in only]
        targets = [(artifact, _below(folder, artifact)) for artifact in wanted]
        for artifact, target in targets:
            await async_call(target.parent.mkdir, parents=True, exist_ok=True)
            await self._save(job, artifact, target)
        return [target for _, target in targets]

    async def _save(self, job: str, found: Artifact, target: Path) -> Path:
        with AtomicFile(target, mode=None) as made:
            await self._fetch(_content(job, found), found, made.file)
            await async_call(made.commit)
        return target

    async def _fetch(self, path: str, artifact: Artifact, file: IO[bytes]) -> None:
        digest = hashlib.sha256()
        async with self._transport.stream(path) as response:
            async for piece in response.aiter_bytes():
                digest.update(piece)
                await async_call(file.write, piece)
        if digest.hexdigest() != artifact.sha256:
            raise unreachable(
                self._transport.place.server,
                f"what came of {artifact.path!r} is not what the job left behind",
            )


def _named(known: Sequence[Artifact], name: str) -> Artifact:
    for artifact in known:
        if name in (artifact.id, artifact.path):
            return artifact
    raise NotFound(f"the job left no artifact {name!r} behind")


def _below(folder: Path, artifact: Artifact) -> Path:
    """Return where an artifact goes. Its path comes from a guest, and must not lead out of the folder."""
    parts = artifact.path.split("/")
    if not stays_below(artifact.path) or not all(map(_is_name, parts)):
        raise InvalidPath(f"{artifact.path!r} cannot be a path here; fetch it by itself, under another name")
    return folder.joinpath(*parts)


def _content(job: str, artifact: Artifact) -> str:
    return f"{job}/artifacts/{quote(artifact.id, safe='')}"


def _target(artifact: Artifact, to: Path | str | None) -> Path:
    """Return the file to write.

    The name comes from a guest: only its last part is used, and only when it is a plain name.
    """
    place = Path() if to is None else Path(to)
    if not place.is_dir():
        return place
    name = PurePosixPath(artifact.path).name
    if not stays_below(name) or not _is_name(name):
        raise InvalidPath(f"{artifact.path!r} cannot be the name of a file here; name one")
    return place / name


def _is_name(name: str) -> bool:
    """Tell whether it is a name on this system, too: some part folders and drives by other signs as well."""
    return Path(name).name == name
