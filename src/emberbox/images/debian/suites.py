"""A Debian release, whatever the host's own: where its packages come from, and who vouches for them.

An image names its release, so that a language is the same program on every host. The mirror that a
host's owner chose has all releases: its sources are taken with the release's name put in the place
of the host's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.debian import apt
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import KEYRING, find_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.images.debian.apt import Source

POCKETS = ("", "updates", "security")
"""What of a release goes into images. Backports, and what is only proposed, are on some hosts and
not on others."""
_KEYRING_MEND = "sudo apt-get update && sudo apt-get install debian-archive-keyring"
_ASK_S = 60.0
_UNKNOWN_KEY = re.compile(r"NO_PUBKEY|Missing key|is not signed\.")
_NO_RELEASE = "does not have a Release file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A release's packages, as this host reaches them.

    Args:
        name: Such as `bookworm`.
        listing: Its sources, as a `sources.list`.
        options: apt's options for reaching them.
    """

    name: str
    listing: str
    options: tuple[str, ...] = ()


async def find_suite(name: str, folder: Path) -> Suite:
    """Return a release as this host reaches it.

    Args:
        name: Such as `bookworm`.
        folder: Scratch folder; this leaves nothing in it.

    Raises:
        RequirementMissing: The host's apt has no lists yet, or nobody on this host vouches for
            Debian's packages.
    """
    sources = sources_of(name, await apt.host_sources(), find_keyring())
    listing = "".join(f"{source.line()}\n" for source in sources)
    if not sources and apt.is_debian():
        raise RequirementMissing("apt has no package lists of Debian itself", mend="sudo apt-get update")
    return Suite(
        name=name,
        listing=listing if sources else await _usual_sources(name, folder),
        options=await apt.acquire_options(),
    )


def sources_of(suite: str, known: Sequence[Source], keys: Path | None) -> tuple[Source, ...]:
    """Return the sources of a release.

    Args:
        suite: Such as `bookworm`.
        known: The host's.
        keys: The keyring of all releases; None where the host has none.

    The host's own sources of that release are taken as they are; where it has none, those of its
    own release with the name replaced.
    """
    own = [source for source in known if source.suite == suite]
    if any(not source.pocket for source in own):
        return tuple(source for source in own if source.pocket in POCKETS)
    others = [source for source in known if source.pocket in POCKETS]
    return tuple(dict.fromkeys(_renamed(source, suite, keys) for source in others))


def _renamed(source: Source, suite: str, keys: Path | None) -> Source:
    name = f"{suite}-{source.pocket}" if source.pocket else suite
    signed_by = source.signed_by
    # A file of one release's keys does not vouch for another's; one that is not Debian's belongs to
    # the mirror and stays.
    if keys is not None and signed_by is not None and Path(signed_by).name.startswith("debian-archive-"):
        signed_by = str(keys)
    return replace(source, release=name, codename=name, signed_by=signed_by)


def find_keyring() -> Path | None:
    """Return the keyring of all of Debian's releases; None where this host has none."""
    found = KEYRING.find()
    return Path(found) if found is not None else None


async def _usual_sources(suite: str, folder: Path) -> str:
    """Return mmdebstrap's own sources, for a host of another distribution, which has none of Debian's."""
    keys = find_keyring()
    if keys is None:
        raise RequirementMissing(
            "this host is not Debian, and nobody on it vouches for Debian's packages, which images are "
            "made of",
            mend=_KEYRING_MEND,
        )
    program, listing = find_program("mmdebstrap"), folder / "sources.list"
    # Nothing is fetched, unpacked or run: it only writes down where it would fetch from.
    argv = [
        program,
        "--mode=chrootless",
        "--variant=custom",
        "--format=null",
        "--skip=update,cleanup,check/chrootless",
    ]
    argv += [f"--setup-hook=copy-out /etc/apt/sources.list {folder}", suite, "/dev/null"]
    await run_tool(
        argv, what=f"find out where Debian {suite} comes from", timeout_s=_ASK_S, env={"TMPDIR": str(folder)}
    )
    text = listing.read_text(encoding="utf-8")
    listing.unlink()
    return vouched(text, keys)


def vouched(listing: str, keys: Path) -> str:
    """Return a `sources.list` whose lines name a keyring; mmdebstrap writes none where gpg is missing."""
    return re.sub(r"^deb (?!\[)", f"deb [signed-by={keys}] ", listing, flags=re.MULTILINE)


def meaning(error: ImageBuildFailed, suite: str) -> ImageBuildFailed | RequirementMissing | None:
    """Return the error to raise in place of one of apt or mmdebstrap; None where its meaning is unknown."""
    told = error.detail or ""
    if _NO_RELEASE in told:
        return ImageBuildFailed(
            f"the mirror that this host's apt uses has no Debian release {suite!r}; mend image.suite in the "
            "manifest, or apt's sources",
            detail=told,
        )
    if _UNKNOWN_KEY.search(told):
        return RequirementMissing(
            f"nobody on this host vouches for the packages of Debian {suite}: the package "
            "debian-archive-keyring is missing, or older than that release",
            mend=_KEYRING_MEND,
            detail=told,
        )
    return None
