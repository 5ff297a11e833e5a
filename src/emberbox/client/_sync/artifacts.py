# Written by scripts/sync_client.py from _async/artifacts.py; change that instead.
"""Files that jobs left behind."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from emberbox.client._sync.pages import all_pages
from emberbox.client.places import unreachable
from emberbox.client.waiting import call
from emberbox.errors import InvalidPath, NotFound
from emberbox.schemas.jobs import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emberbox.client._sync.transport import Transport


class Artifacts:
    """The artifacts of a job, whose path on the server each call is given."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, job: str) -> Iterator[Artifact]:
        """Yield them all."""
        return all_pages(self._transport, Artifact, f"{job}/artifacts")

    def find(self, job: str, artifact: Artifact | str) -> Artifact:
        """Return an artifact by its id or path. Raises `NotFound`."""
        if isinstance(artifact, Artifact):
            return artifact
        return _named(list(self.list(job)), artifact)

    def read(self, job: str, artifact: Artifact | str) -> bytes:
        """Return an artifact's content."""
        found = self.find(job, artifact)
        response = self._transport.request("GET", _content(job, found))
        return response.content

    def download(self, job: str, artifact: Artifact | str, to: Path | str | None) -> Path:
        """Fetch an artifact into a file, whole or not at all."""
        found = self.find(job, artifact)
        return self._save(job, found, call(_target, found, to))

    def download_all(self, job: str, folder: Path, only: Sequence[str] | None) -> Sequence[Path]:
        """Fetch several artifacts, or all, below a folder."""
        known = list(self.list(job))
        wanted = known if only is None else [_named(known, name) for name in only]
        targets = [(artifact, _below(folder, artifact)) for artifact in wanted]
        for artifact, target in targets:
            call(target.parent.mkdir, parents=True, exist_ok=True)
            self._save(job, artifact, target)
        return [target for _, target in targets]

    def _save(self, job: str, found: Artifact, target: Path) -> Path:
        descriptor, name = call(tempfile.mkstemp, prefix=".emberbox-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._fetch(_content(job, found), found, file)
            call(_put, Path(name), target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return target

    def _fetch(self, path: str, artifact: Artifact, file: BinaryIO) -> None:
        digest = hashlib.sha256()
        with self._transport.stream(path) as response:
            for piece in response.iter_bytes():
                digest.update(piece)
                call(file.write, piece)
        if digest.hexdigest() != artifact.sha256:
            raise unreachable(self._transport.place.server, f"what came of {artifact.path!r} is not what the job left behind")


def _named(known: Sequence[Artifact], name: str) -> Artifact:
    for artifact in known:
        if name in (artifact.id, artifact.path):
            return artifact
    raise NotFound(f"the job left no artifact {name!r} behind")


def _below(folder: Path, artifact: Artifact) -> Path:
    """Return where an artifact goes. Its path comes from a guest, and must not lead out of the folder."""
    parts = artifact.path.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in artifact.path:
        raise InvalidPath(f"{artifact.path!r} cannot be a path here; fetch it by itself, under another name")
    return folder.joinpath(*parts)


def _content(job: str, artifact: Artifact) -> str:
    return f"{job}/artifacts/{quote(artifact.id, safe='')}"


def _target(artifact: Artifact, to: Path | str | None) -> Path:
    """Return the file to write. The name comes from a guest: only its last part is used, and only when it is a plain name."""
    place = Path() if to is None else Path(to)
    if not place.is_dir():
        return place
    name = PurePosixPath(artifact.path).name
    if name in ("", ".", "..") or "\0" in name or "/" in name:
        raise InvalidPath(f"{artifact.path!r} cannot be the name of a file here; name one")
    return place / name


def _put(made: Path, target: Path) -> None:
    """Give a finished file its name, with the rights that a new file gets here."""
    mask = os.umask(0)
    os.umask(mask)
    made.chmod(0o666 & ~mask)
    made.replace(target)
