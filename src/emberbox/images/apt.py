"""Asks the host's apt where packages come from, so that a build uses the sources that its owner chose."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.process import run_capture
from emberbox.images.requirements import find_program

FALLBACK_SUITE = "bookworm"
"""The Debian release that images are made from on hosts that are not Debian."""

_ASK_S = 60.0
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_KEPT_OPTION = re.compile(r'(Acquire::(?:Check-Valid-Until|Check-Date|Retries|https?::[\w.:-]+)) "([^"]*)";')


@dataclass(frozen=True, slots=True)
class Source:
    """One place that packages come from: base address, release, component, and the keyring that signs it (None: apt's own)."""

    uri: str
    release: str
    component: str
    signed_by: str | None

    def line(self) -> str:
        """Return it as a line of `sources.list`."""
        options = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return f"deb {options}{self.uri} {self.release} {self.component}"


def host_architecture() -> str:
    """Return Debian's name of this host's architecture; raises `RequirementMissing` for one that is not supported."""
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise RequirementMissing(f"this host's architecture is {machine}; images exist for {', '.join(sorted(_ARCHITECTURES))}")
    return _ARCHITECTURES[machine]


def host_suite(os_release: Path = Path("/etc/os-release")) -> str:
    """Return the Debian release that images are made from: the host's own where it is Debian, else `FALLBACK_SUITE`."""
    values = _os_release(os_release)
    codename = values.get("VERSION_CODENAME", "")
    return codename if values.get("ID") == "debian" and re.fullmatch(r"[a-z]+", codename) else FALLBACK_SUITE


def is_debian(os_release: Path = Path("/etc/os-release")) -> bool:
    """Tell whether the host is Debian itself."""
    return _os_release(os_release).get("ID") == "debian"


async def debian_sources(suite: str) -> tuple[Source, ...]:
    """Return the host's own sources of Debian's packages for `suite`; empty where it has none."""
    program = find_program("apt-get")
    text = await run_capture([program, "indextargets", "Created-By: Packages"], what="ask apt for its sources", timeout_s=_ASK_S)
    return parse_index_targets(text, suite)


def parse_index_targets(text: str, suite: str) -> tuple[Source, ...]:
    """Return the sources in the output of `apt-get indextargets` that are Debian's own and belong to `suite`."""
    sources: list[Source] = []
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and not line.startswith(" "))
        release = fields.get("Release", "")
        if fields.get("Origin") != "Debian" or release.partition("/")[0].partition("-")[0] != suite:
            continue
        key = fields.get("Signed-By", "")
        source = Source(fields["Repo-URI"], release, fields.get("Component", "main"), key if key.startswith("/") else None)
        if source.component == "main" and source not in sources:
            sources.append(source)
    return tuple(sources)


async def acquire_options() -> tuple[str, ...]:
    """Return the host's apt options that matter for reaching its sources: proxies, retries, checks of dates."""
    text = await run_capture([find_program("apt-config"), "dump"], what="ask apt for its options", timeout_s=_ASK_S)
    return tuple(f'{name} "{value}"' for name, value in _KEPT_OPTION.findall(text))


async def newest_version(package: str) -> tuple[str, dict[str, str]]:
    """Return a package's newest version and its fields; raises `RequirementMissing` when apt does not know it."""
    program = find_program("apt-cache")
    try:
        text = await run_capture(
            [program, "show", "--no-all-versions", package], what=f"look up the package {package}", timeout_s=_ASK_S
        )
    except ImageBuildFailed as error:
        raise RequirementMissing(
            f"apt does not know the package {package}; its lists may be missing", mend="sudo apt-get update", detail=error.detail
        ) from error
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith(" "))
    return fields["Version"], fields


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {key: value.strip("\"'") for key, value in pairs}
