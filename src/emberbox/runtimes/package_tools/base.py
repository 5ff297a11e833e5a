"""A package tool: how packages of one kind are named, installed in a build VM, and found by runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from emberbox.config import PackageSettings

_COMPILER_MISSING = (
    "gcc' failed",
    "cc' failed",
    "No such file or directory: 'gcc'",
    "No such file or directory: 'cc'",
)
_TOLD_CHARACTERS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One installation, as the build VM has prepared it.

    Args:
        files: Names of the files that lie in the tool's `folder`.
        target: The folder in the VM that packages are installed into.
        index: Address of the index.
        proxy: Address of the proxy, the VM's only way out.
        authorities: File in the VM with the certificates of those who are trusted; None for the image's own.
    """

    files: Collection[str]
    target: str
    index: str
    proxy: str
    authorities: str | None = None


class PackageTool(ABC):
    """A tool that installs packages. A new one is a module with its `TOOL`, and its place in the registry.

    Attributes:
        name: Its name in manifests, requests and results.
        files: What it reads; the first says that there are packages.
        entry: The regular expression of an entry of a manifest's list.
        entry_allowed: What that allows, for people.
        place: Where its packages lie in the guest of a run, relative to the root.
        taken: Globs of what is taken of the target; None takes all.
        in_target: Whether its files lie in the target, and it is started there; else in the work folder.
        setting: The setting of the group `packages` that holds the address of its index.
        own_index: What prints the index that the tool is made for, and behind it the hosts of its files.
        error_marks: How its lines about errors begin.
    """

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    entry: ClassVar[str]
    entry_allowed: ClassVar[str]
    place: ClassVar[str]
    taken: ClassVar[tuple[str, ...] | None] = None
    in_target: ClassVar[bool] = False
    setting: ClassVar[str]
    own_index: ClassVar[tuple[str, ...]]
    error_marks: ClassVar[tuple[str, ...]] = ("ERROR:", "error:")

    def reads(self, name: str) -> bool:
        """Tell whether a file of this name is the tool's list of packages."""
        return name == self.files[0]

    @abstractmethod
    def empty(self, text: bytes) -> bool:
        """Tell whether the list of packages asks for nothing."""

    @abstractmethod
    def listing(self, names: Sequence[str]) -> bytes:
        """Return the list of packages that holds these, each written as the tool has it."""

    @abstractmethod
    def command(self, installation: Installation) -> tuple[str, ...]:
        """Return what installs the packages of the files that lie where it is started."""

    def index(self, settings: PackageSettings) -> str:
        """Return the address of the index by the settings; empty where they leave it to the tool."""
        return str(getattr(settings, self.setting))

    def failure_message(self, output: str) -> str:
        """Return what a person reads of a failed installation: the tool's own errors.

        Where a compiler was missing, a hint follows.
        """
        lines = [line.rstrip() for line in output.splitlines() if line.strip()]
        text = "; ".join(self.telling(self._errors(lines) or lines))[-_TOLD_CHARACTERS:]
        if any(mark in output for mark in _COMPILER_MISSING):
            text += "; there is no compiler in the image: choose a version that has a wheel"
        return f"{self.name} could not install the packages: {text or 'it said nothing'}"

    def telling(self, errors: list[str]) -> list[str]:
        """Return those of the lines about errors that tell most."""
        return errors[-4:]

    def _errors(self, lines: list[str]) -> list[str]:
        """Return the lines that tell of errors, with those that are indented below one."""
        found, below = [], False
        for line in lines:
            below = line.startswith("ERROR:") or (below and line.startswith("  "))
            if below or line.startswith(self.error_marks):
                found.append(line.strip())
        return found
