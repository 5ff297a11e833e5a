"""Tells which installed packages a guest needs, and which were only there to install the others."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BASE = (
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "mawk",
    "ncurses-base",
    "sed",
    "tar",
    "util-linux",
)
"""What every guest has, so that a program finds the commands that programs expect."""

INSTALLERS = frozenset(
    {"adduser", "apt", "debconf", "dpkg", "init-system-helpers", "perl-base", "passwd", "login"}
)
"""Packages that serve only to install, or to log in; a dependency on them does not keep them."""


@dataclass(frozen=True, slots=True)
class Package:
    """An installed package: name, version, and the alternatives of each of its dependencies."""

    name: str
    version: str
    architecture: str
    depends: tuple[tuple[str, ...], ...]
    provides: tuple[str, ...]


def parse_status(text: str) -> dict[str, Package]:
    """Read dpkg's status file; only packages that are installed."""
    packages: dict[str, Package] = {}
    for stanza in text.split("\n\n"):
        fields = stanza_fields(stanza)
        if not fields.get("Status", "").endswith(" installed"):
            continue
        depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
        packages[fields["Package"]] = Package(
            name=fields["Package"],
            version=fields.get("Version", ""),
            architecture=fields.get("Architecture", ""),
            depends=tuple(
                tuple(_name(part) for part in clause.split("|"))
                for clause in depends.split(",")
                if clause.strip()
            ),
            provides=tuple(_name(part) for part in fields.get("Provides", "").split(",") if part.strip()),
        )
    return packages


def needed(packages: Mapping[str, Package], wanted: Iterable[str]) -> set[str]:
    """Return the names of the installed packages that `wanted` and `BASE` need, by their dependencies.

    A package of `INSTALLERS` is kept only where `wanted` names it.
    """
    named = set(wanted)
    providers = _providers(packages)
    kept: set[str] = set()
    queue = [*named, *BASE]
    while queue:
        name = queue.pop()
        for real in ({name} & packages.keys()) or providers.get(name, set()):
            if real in kept or (real in INSTALLERS and real not in named):
                continue
            kept.add(real)
            queue += [alternative for clause in packages[real].depends for alternative in clause]
    return kept


def _providers(packages: Mapping[str, Package]) -> dict[str, set[str]]:
    providers: dict[str, set[str]] = {}
    for package in packages.values():
        for virtual in package.provides:
            providers.setdefault(virtual, set()).add(package.name)
    return providers


def stanza_fields(stanza: str) -> dict[str, str]:
    """Return the fields of a stanza as Debian's tools write it, each by its first line."""
    return dict(
        line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" ")
    )


def _name(part: str) -> str:
    """Strip version, architecture and spaces: `libc6:any (>= 2.36)` is `libc6`."""
    match = re.match(r"\s*([^\s:(\[]+)", part)
    return match[1] if match else ""
