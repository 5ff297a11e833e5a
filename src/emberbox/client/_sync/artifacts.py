# Written by scripts/sync_client.py from _async/artifacts.py; change that instead.
"""Files that jobs left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from emberbox.client._sync.transport import Part
from emberbox.client.paths import path_of
from emberbox.client.places import unreachable
from emberbox.client.waiting import call
from emberbox.errors import InvalidPath, NotFound
from emberbox.files.atomic import AtomicFile
from emberbox.files.paths import stays_below
from emberbox.schemas.jobs import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Artifacts(Part):
    """The part of `client.jobs` that is about files."""

    def artifacts(self, job_id: str) -> Iterator[Artifact]:
        """Yield the files that a job left behind. Raises `NotFound`."""
        return self._transport.pages(Artifact, path_of("jobs", job_id, "artifacts"))

    def download(self, job_id: str, artifact: Artifact | str, to: Path | str | None = None) -> Path:
        """Fetch an artifact into a file and return where it is.

        Args:
            job_id: The job.
            artifact: The artifact, or its id or path.
            to: The file, or a folder that exists, where it gets its own name; None for the current
                folder. A file that is there is replaced once all has come.

        Raises:
            NotFound: There is no such job, or no such artifact.
            ServerUnreachable: What came is not whole; nothing is left of it.
        """
        found = self._find(job_id, artifact)
        return self._save(job_id, found, call(_target, found, to))

    def download_all(
        self, job_id: str, folder: Path | str, *, only: Sequence[str] | None = None
    ) -> Sequence[Path]:
        """Fetch artifacts into a folder, each at its own path below it, and return where they are.

        Args:
            job_id: The job.
            folder: Made where it is not there.
            only: Ids or paths; None for all.

        Raises:
            NotFound: There is no such job, or no such artifact.
            InvalidPath: A path leads out of the folder; nothing was fetched.
        """
        known = list(self.artifacts(job_id))
        wanted = known if only is None else [_named(known, name) for name in only]
        targets = [(artifact, _below(Path(folder), artifact)) for artifact in wanted]
        for artifact, target in targets:
            call(target.parent.mkdir, parents=True, exist_ok=True)
            self._save(job_id, artifact, target)
        return [target for _, target in targets]

    def read_artifact(self, job_id: str, artifact: Artifact | str) -> bytes:
        """Return an artifact's content; for the arguments see `download`."""
        found = self._find(job_id, artifact)
        return self._transport.content(path_of("jobs", job_id, "artifacts", found.id))

    def _find(self, job_id: str, artifact: Artifact | str) -> Artifact:
        if isinstance(artifact, Artifact):
            return artifact
        return _named(list(self.artifacts(job_id)), artifact)

    def _save(self, job_id: str, found: Artifact, target: Path) -> Path:
        digest = hashlib.sha256()
        with AtomicFile(target, mode=None) as made:
            with self._transport.stream(path_of("jobs", job_id, "artifacts", found.id)) as response:
                for piece in response.iter_bytes():
                    digest.update(piece)
                    call(made.file.write, piece)
            if digest.hexdigest() != found.sha256:
                why = f"what came of {found.path!r} is not what the job left behind"
                raise unreachable(self._transport.place.server, why)
            call(made.commit)
        return target


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
