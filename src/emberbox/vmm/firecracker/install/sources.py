"""Where a release's archive comes from: its public page, or a file that a person brought.

Both are held to a SHA-256.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import re
from typing import TYPE_CHECKING, Protocol

from emberbox.errors import InvalidInput, RequirementMissing
from emberbox.vmm.firecracker.install.disk import write_whole
from emberbox.vmm.firecracker.install.fetch import Fetcher
from emberbox.vmm.firecracker.install.release import KNOWN_SHA256, RELEASES, RELEASES_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release

    Steps = Callable[[str, float | None], None]

_ARCHIVE_BYTES = 256 * 1024 * 1024
_HASH_BYTES = 4096
_DOWNLOAD_S = 900.0
_CHUNK = 1024 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")


class Source(Protocol):
    """Where a release's archive comes from."""

    async def obtain(self, release: Release, target: Path, step: Steps) -> None:
        """Write the archive of `release` to `target`, with its hash checked. Raises as `install` does."""


class PublishedRelease:
    """A release page on the web.

    Args:
        releases: Its address; see `RELEASES`.
        timeout_s: Bound of the download.
    """

    def __init__(self, releases: str = RELEASES, *, timeout_s: float = _DOWNLOAD_S) -> None:
        self._releases = releases
        self._timeout_s = timeout_s

    async def obtain(self, release: Release, target: Path, step: Steps) -> None:
        """Fetch the hash and the archive.

        Raises `RequirementMissing` and `NoSpace`, with no archive left that is not whole.
        """
        url = release.url(self._releases)
        missing = (
            f"is there a Firecracker {release.version} for {release.architecture}? Choose another with "
            f"--version, or name a page that has it in {RELEASES_VARIABLE}"
        )
        fetcher = Fetcher(timeout_s=self._timeout_s, missing=missing)
        step("fetching the hash", None)
        expected = read_hash(await fetcher.text(f"{url}.sha256.txt", _HASH_BYTES), release.archive)
        if expected is None:
            raise RequirementMissing(
                f"{url}.sha256.txt holds no SHA-256; is {RELEASES_VARIABLE} or a proxy leading astray?"
            )
        try:
            got = await fetcher.file(url, target, _ARCHIVE_BYTES, lambda share: step("fetching", share))
            _check(
                release,
                {expected, KNOWN_SHA256.get(release.archive, expected)},
                got,
                f"what came from {url} was removed",
            )
        except BaseException:
            target.unlink(missing_ok=True)
            raise


class ReleaseFile:
    """An archive that a person brought, for machines without a way out.

    Args:
        file: The archive.
        sha256: Its hash as hex; None to take it from `<file>.sha256.txt`.
    """

    def __init__(self, file: Path, sha256: str | None = None) -> None:
        self._file = file
        self._sha256 = sha256

    async def obtain(self, release: Release, target: Path, step: Steps) -> None:
        """Copy the archive, so that what is checked is what is unpacked. Raises as `install` does."""
        expected = self._expected(release)
        step("checking", None)
        got = await asyncio.to_thread(self._copy, target)
        _check(
            release,
            {expected, KNOWN_SHA256.get(release.archive, expected)},
            got,
            f"{self._file} was not installed",
        )

    def _expected(self, release: Release) -> str:
        if self._sha256 is not None:
            given = self._sha256.strip().lower()
            if not _HASH.fullmatch(given):
                raise InvalidInput(
                    f"--sha256 takes the 64 hexadecimal digits of a SHA-256, not {self._sha256!r}"
                )
            return given
        beside = self._file.with_name(f"{self._file.name}.sha256.txt")
        try:
            with beside.open(encoding="utf-8", errors="replace") as stream:
                found = read_hash(stream.read(_HASH_BYTES), release.archive)
        except OSError as error:
            raise InvalidInput(
                f"there is no {beside} to check {self._file.name} against ({error.strerror}). It is "
                "published with the archive; put it there, or pass the hash with --sha256 HEX"
            ) from error
        if found is None:
            raise InvalidInput(
                f"{beside} holds no SHA-256 of {release.archive}; pass the hash with --sha256 HEX"
            )
        return found

    def _copy(self, target: Path) -> str:
        digest = hashlib.sha256()
        try:
            with self._file.open("rb") as source, target.open("xb", buffering=0) as stream:
                for data in iter(lambda: source.read(_CHUNK), b""):
                    write_whole(stream, data, target)
                    digest.update(data)
                    if source.tell() > _ARCHIVE_BYTES:
                        raise InvalidInput(f"{self._file} is larger than an archive of Firecracker can be")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EACCES, errno.EISDIR) and error.filename == str(
                self._file
            ):
                raise InvalidInput(f"{self._file} cannot be read: {error.strerror}") from error
            raise
        return digest.hexdigest()


def read_hash(text: str, name: str) -> str | None:
    """Return the hash of the file `name` in what sha256sum writes; the only one, whatever its name.

    None: there is none.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        digest, _, of = line.strip().partition(" ")
        if _HASH.fullmatch(digest.lower()):
            found[of.strip().lstrip("*").rpartition("/")[2]] = digest.lower()
    return found.get(name) or (next(iter(found.values())) if len(found) == 1 else None)


def _check(release: Release, expected: set[str], got: str, left: str) -> None:
    wrong = sorted(expected - {got})
    if wrong:
        raise RequirementMissing(
            f"{release.archive} has the wrong SHA-256: {wrong[0]} was expected, {got} came; {left}. Fetch "
            "it again; if it stays so, do not use it"
        )
