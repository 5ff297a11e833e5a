"""Asks the host's apt where packages come from, so that a build uses the sources that its owner chose."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from emberbox.errors import RequirementMissing
from emberbox.files.paths import text_of
from emberbox.images.debian.packages import stanza_fields
from emberbox.images.tools.process import run_capture
from emberbox.images.tools.requirements import find_program

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEPT_OPTION = re.compile(r'(Acquire::(?:Check-Valid-Until|Check-Date|Retries|https?::[\w.:-]+)) "([^"]*)";')


@dataclass(frozen=True, slots=True)
class Source:
    """One place that Debian's packages come from.

    Args:
        uri: Base address.
        release: The release as the host names it, which may be by an alias: `bookworm-security`,
            `stable-security`.
        codename: The release by its own name: `bookworm-security`.
        component: `main`.
        signed_by: The keyring's path that the host names for it; None for apt's own.
    """

    uri: str
    release: str
    codename: str
    component: str
    signed_by: str | None

    @property
    def suite(self) -> str:
        """The release alone: `bookworm`."""
        return re.split("[-/]", self.codename, maxsplit=1)[0]

    @property
    def pocket(self) -> str:
        """What of the release it has: `security`, `updates` and the like; empty for the release itself."""
        return self.codename[len(self.suite) + 1 :]

    def line(self) -> str:
        """Return it as a line of `sources.list`."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.release} {self.component}"


def host_architecture() -> str:
    """Return Debian's name of this host's architecture; raises `RequirementMissing` for others."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise RequirementMissing(
            f"this host's architecture is {machine}; images exist for {', '.join(sorted(_ARCHITECTURES))}"
        )
    return _ARCHITECTURES[machine]


def is_debian(os_release: Path = Path("/etc/os-release")) -> bool:
    """Tell whether the host is Debian itself."""
    pairs = dict(line.split("=", 1) for line in text_of(os_release).splitlines() if "=" in line)
    return pairs.get("ID", "").strip("\"'") == "debian"


async def host_sources() -> tuple[Source, ...]:
    """Return the host's own sources of Debian's packages, of whatever release; empty where it has none."""
    program = find_program("apt-get")
    text = await run_capture(
        [program, "indextargets", "Created-By: Packages"], what="ask apt for its sources"
    )
    return parse_index_targets(text)


def parse_index_targets(text: str) -> tuple[Source, ...]:
    """Return Debian's own sources (component `main`, each once) from `apt-get indextargets`."""
    sources: list[Source] = []
    for stanza in text.split("\n\n"):
        fields = stanza_fields(stanza)
        release = fields.get("Release", "")
        if fields.get("Origin") != "Debian" or not release or fields.get("Component", "main") != "main":
            continue
        key = fields.get("Signed-By", "")
        codename = fields.get("Codename", release)
        source = Source(fields["Repo-URI"], release, codename, "main", key if key.startswith("/") else None)
        if source not in sources:
            sources.append(source)
    return tuple(sources)


async def acquire_options() -> tuple[str, ...]:
    """Return the host's apt options for reaching its sources: proxies, retries, checks of dates."""
    text = await run_capture([find_program("apt-config"), "dump"], what="ask apt for its options")
    return tuple(f'{name} "{value}"' for name, value in _KEPT_OPTION.findall(text))
