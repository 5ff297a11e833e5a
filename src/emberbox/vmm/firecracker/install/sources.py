"""Where a release's archive comes from: its public page, or a file that a person brought.

Both are held to a SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput, RequirementMissing
from emberbox.vmm.firecracker.install.fetch import fetch
from emberbox.vmm.firecracker.install.release import KNOWN_SHA256, RELEASES, RELEASES_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release

    Steps = Callable[[str, float | None], None]
    # Writes the archive of a release to a path, with its hash checked. Raises as `install` does.
    Source = Callable[[Release, Path, Steps], Awaitable[None]]

_ARCHIVE_BYTES = 256 * 1024 * 1024
_HASH_BYTES = 4096
_DOWNLOAD_S = 900.0
_CHUNK = 1024 * 1024
_HASH = re.compile(r"[0-9a-f]{64}")


async def fetch_release(
    release: Release,
    target: Path,
    step: Steps,
    *,
    releases: str = RELEASES,
    timeout_s: float = _DOWNLOAD_S,
) -> None:
    """Fetch the hash and the archive of a release; a `Source`.

    Args:
        release: Which one.
        target: Where its archive is written.
        step: As for `install`.
        releases: Address of the page that has it; see `RELEASES`.
        timeout_s: Bound of each of the two.
    """
    url = release.url(releases)
    missing = (
        f"is there a Firecracker {release.version} for {release.architecture}? Choose another with "
        f"--version, or name a page that has it in {RELEASES_VARIABLE}"
    )
    step("fetching the hash", None)
    told: list[bytes] = []
    await fetch(
        f"{url}.sha256.txt",
        lambda data, _: told.append(data),
        limit=_HASH_BYTES,
        timeout_s=timeout_s,
        missing=missing,
    )
    expected = read_hash(b"".join(told).decode("utf-8", "replace"), release.archive)
    if expected is None:
        raise RequirementMissing(
            f"{url}.sha256.txt holds no SHA-256; is {RELEASES_VARIABLE} or a proxy leading astray?"
        )
    with target.open("xb") as stream:

        def take(data: bytes, share: float | None) -> None:
            stream.write(data)
            step("fetching", share)

        await fetch(url, take, limit=_ARCHIVE_BYTES, timeout_s=timeout_s, missing=missing)
    await _check(release, target, expected, f"what came from {url} was removed")


async def copy_release(
    release: Release, target: Path, step: Steps, *, file: Path, sha256: str | None = None
) -> None:
    """Copy an archive that a person brought, so that what is checked is what is unpacked; a `Source`.

    For machines without a way out.

    Args:
        release: Which one it should be.
        target: Where it is written.
        step: As for `install`.
        file: The archive.
        sha256: Its hash as hex; None to take it from `<file>.sha256.txt`.
    """
    expected = _hash_beside(file, release) if sha256 is None else _given_hash(sha256)
    step("checking", None)
    await asyncio.to_thread(_copy, file, target)
    await _check(release, target, expected, f"{file} was not installed")


def _given_hash(told: str) -> str:
    given = told.strip().lower()
    if not _HASH.fullmatch(given):
        raise InvalidInput(f"--sha256 takes the 64 hexadecimal digits of a SHA-256, not {told!r}")
    return given


def _hash_beside(file: Path, release: Release) -> str:
    beside = file.with_name(f"{file.name}.sha256.txt")
    try:
        with beside.open(encoding="utf-8", errors="replace") as stream:
            found = read_hash(stream.read(_HASH_BYTES), release.archive)
    except OSError as error:
        raise InvalidInput(
            f"there is no {beside} to check {file.name} against ({error.strerror}). It is "
            "published with the archive; put it there, or pass the hash with --sha256 HEX"
        ) from error
    if found is None:
        raise InvalidInput(f"{beside} holds no SHA-256 of {release.archive}; pass the hash with --sha256 HEX")
    return found


def _copy(file: Path, target: Path) -> None:
    try:
        source = file.open("rb")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    with source, target.open("xb") as stream:
        while data := source.read(_CHUNK):
            stream.write(data)
            if source.tell() > _ARCHIVE_BYTES:
                raise InvalidInput(f"{file} is larger than an archive of Firecracker can be")


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


async def _check(release: Release, archive: Path, expected: str, left: str) -> None:
    with archive.open("rb") as stream:
        got = (await asyncio.to_thread(hashlib.file_digest, stream, "sha256")).hexdigest()
    wrong = sorted({expected, KNOWN_SHA256.get(release.archive, expected)} - {got})
    if wrong:
        raise RequirementMissing(
            f"{release.archive} has the wrong SHA-256: {wrong[0]} was expected, {got} came; {left}. Fetch "
            "it again; if it stays so, do not use it"
        )
