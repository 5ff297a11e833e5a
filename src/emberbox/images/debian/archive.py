"""Looks up and downloads a Debian release's packages by an apt with lists of its own, and no hooks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.debian.newer import Offered, parse_madison
from emberbox.images.debian.packages import stanza_fields
from emberbox.images.debian.suites import find_suite, meaning
from emberbox.images.tools.process import run_capture, run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.images.debian.suites import Suite
    from emberbox.images.progress import Progress

_LISTS_S = 600.0
_DOWNLOAD_S = 600.0
_CONFIGURATION = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Dir::Cache "{folder}/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{folder}/state";
Dir::State::status "{folder}/status";
"""
# apt's own download user could not write into a private folder, hence the sandbox's user. Keys and
# passwords for mirrors stay the host's.


async def open_archive(suite: str, architecture: str, folder: Path, progress: Progress) -> Archive:
    """Return a release's archive as this host reaches it, with its lists fetched.

    Raises as `find_suite` and `Archive.open`.

    Args:
        suite: The release's name, such as `bookworm`.
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes.
        progress: Takes what apt prints.
    """
    return await Archive(await find_suite(suite, folder), architecture, folder, progress).open()


class Archive:
    """The packages of one release. Open it with `open`; it lives in its folder and needs no closing.

    Args:
        suite: The release.
        architecture: `amd64` or `arm64`.
        folder: An empty folder, which the caller removes.
        progress: Takes what apt prints.
    """

    def __init__(self, suite: Suite, architecture: str, folder: Path, progress: Progress) -> None:
        self._suite = suite
        self._architecture = architecture
        self._folder = folder
        self._progress = progress
        self._environment = {"APT_CONFIG": str(folder / "apt.conf")}

    async def open(self) -> Archive:
        """Fetch the release's lists.

        Raises:
            RequirementMissing: A program is missing, or nobody on this host vouches for that release.
            ImageBuildFailed: The mirror cannot be reached or does not have it.
        """
        await asyncio.to_thread(self._write)
        what = f"fetch the package lists of Debian {self._suite.name}"
        try:
            await run_tool(
                [find_program("apt-get"), "-qq", "update"],
                what=what,
                timeout_s=_LISTS_S,
                env=self._environment,
                on_line=self._progress.log,
            )
        except ImageBuildFailed as error:
            if (meant := meaning(error, self._suite.name)) is not None:
                raise meant from error
            raise
        return self

    async def newest_version(self, package: str) -> tuple[str, dict[str, str]]:
        """Return a package's newest version and its fields; raises `RequirementMissing` without one."""
        argv = [find_program("apt-cache"), "show", "--no-all-versions", package]
        try:
            text = await run_capture(argv, what=f"look up the package {package}", env=self._environment)
        except ImageBuildFailed as error:
            raise RequirementMissing(
                f"Debian {self._suite.name} has no package {package}", detail=error.detail
            ) from error
        fields = stanza_fields(text)
        return fields["Version"], fields

    async def offered(self, packages: Iterable[str]) -> dict[str, tuple[Offered, ...]]:
        """Return the versions that the release has of packages; those that it lacks are left out."""
        names = sorted(packages)
        argv = [find_program("apt-cache"), "madison", *names]
        if not names:
            return {}
        return parse_madison(await run_capture(argv, what="look up packages", env=self._environment))

    async def download(self, package: str, version: str, folder: Path) -> Path:
        """Download one package into a folder and return the file's path; raises `ImageBuildFailed`."""
        await run_tool(
            [find_program("apt-get"), "-qq", "download", f"{package}={version}"],
            what=f"download the package {package}",
            timeout_s=_DOWNLOAD_S,
            cwd=folder,
            env=self._environment,
            on_line=self._progress.log,
        )
        archive = next(iter(folder.glob("*.deb")), None)
        if archive is None:
            raise ImageBuildFailed(f"apt downloaded no file for {package}")
        return archive

    def _write(self) -> None:
        for name in ("cache/archives/partial", "state/lists/partial"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        (self._folder / "sources.list").write_text(self._suite.listing, encoding="utf-8")
        text = _CONFIGURATION.format(architecture=self._architecture, folder=self._folder)
        options = "".join(f"{option};\n" for option in self._suite.options)
        Path(self._environment["APT_CONFIG"]).write_text(text + options, encoding="utf-8")
