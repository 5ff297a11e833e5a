"""Which of an image's packages a release has in a newer version, told by its lists alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.images.debian.versions import is_newer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SECURITY = "-security"


@dataclass(frozen=True, slots=True)
class Offered:
    """A version that a release offers.

    Args:
        version: The package's.
        security: Whether the release's security archive has it.
    """

    version: str
    security: bool


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package that an image has in another version, or has no more, or newly.

    Args:
        package: Its name.
        old: The version in the image; None for none.
        new: The version that takes its place; None for none.
        security: Whether it comes from the release's security archive, or a version in between did.
    """

    package: str
    old: str | None
    new: str | None
    security: bool = False


def parse_madison(text: str) -> dict[str, tuple[Offered, ...]]:
    """Return what a release offers of each package, from `apt-cache madison`."""
    found: dict[str, dict[str, bool]] = {}
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 3 or not fields[2].endswith("Packages"):
            continue
        package, version, place = fields
        # `place` is an address, RELEASE/COMPONENT, an architecture and `Packages`.
        release = place.split()[1].partition("/")[0]
        offers = found.setdefault(package, {})
        offers[version] = offers.get(version, False) or release.endswith(_SECURITY)
    return {
        package: tuple(Offered(version, security) for version, security in offers.items())
        for package, offers in found.items()
    }


def newer_packages(
    installed: Mapping[str, str], offered: Mapping[str, Iterable[Offered]]
) -> tuple[PackageChange, ...]:
    """Return the installed packages of which there is a newer version, by name.

    Not only what the security archive has counts: a point release takes that archive's versions over
    into the release itself, and an image may be older than that.

    Args:
        installed: Versions by name.
        offered: What the release offers.
    """
    changes = []
    for package, version in sorted(installed.items()):
        better = [offer for offer in offered.get(package, ()) if is_newer(offer.version, version)]
        if not better:
            continue
        newest = better[0]
        for offer in better:
            newest = offer if is_newer(offer.version, newest.version) else newest
        changes.append(
            PackageChange(package, version, newest.version, any(offer.security for offer in better))
        )
    return tuple(changes)


def changed_packages(
    before: Mapping[str, str], after: Mapping[str, str], security: Iterable[str] = ()
) -> tuple[PackageChange, ...]:
    """Return what differs between two images' packages, by name.

    Args:
        before: Versions by name.
        after: The same, afterwards.
        security: Names of those that changed for the security archive.
    """
    marked = set(security)
    return tuple(
        PackageChange(name, before.get(name), after.get(name), name in marked)
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )
