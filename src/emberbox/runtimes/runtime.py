"""What a manifest says, as values that cannot change."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from emberbox.model import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SCRIPT = "{script}"
"""Stands for the script's path in a command."""
OUTPUT = "{output}"
"""Stands for the compiled program's path in a command."""
PLACEHOLDER = "{placeholder}"
"""Stands for the path that the waiting interpreter is started with."""

DEFAULT_SUITE = "bookworm"
"""The Debian release of images that name none, whatever the host's own: a language is the same
program on every host."""


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """What the root filesystem is made from.

    Args:
        suite: The Debian release that packages and kernel come from.
        packages: Debian packages; what they depend on comes with them.
        files: Folders that are copied onto the root in this order, owned by root, modes kept.
        remove: Globs relative to the root, removed after the packages are installed.
        baked: Packages by the tool that installs them, each written as the tool has it; installed by
            a build VM into a layer over the image.
        imported: Digest (`sha256:…`) of the OCI image that is the root filesystem, in place of
            packages; None for none.
        user: Whom programs run as in the guest, `uid:gid`; None for Emberbox's unprivileged user.
    """

    suite: str = DEFAULT_SUITE
    packages: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    remove: tuple[str, ...] = ()
    baked: Mapping[str, tuple[str, ...]] = field(default_factory=_empty, hash=False)
    imported: str | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRecipe:
    """How an interpreter is kept waiting in a template.

    It waits by itself, with `argv`, or is held by the agent, with `hold`.

    Args:
        argv: The command, with `{placeholder}`; empty where it is held.
        hold: `open` or `read`: the run's own command for inline code is started, and held where it
            first names its script, or where it first reads it, having opened it before. None where
            it waits by itself.
        preload: Modules that it imports before it waits.
        env: Added to its environment.
    """

    argv: tuple[str, ...] = ()
    hold: str | None = None
    preload: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=_empty, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileRecipe:
    """The stage before a compiled program's run.

    Args:
        argv: The command, with `{script}` and `{output}`.
        env: Added to its environment.
        timeout_s: Wall-clock time in seconds.
        pids: Processes and threads alive at once.
        cache: Whether what it makes may be kept and used again for the same source.
        hold: Whether the compiler is started in the template, and held where it first names the
            source of inline code.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=_empty, hash=False)
    timeout_s: float = 60.0
    pids: int = 256
    cache: bool = True
    hold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagesRecipe:
    """How packages that a script brings along are installed.

    Args:
        tool: The name of the tool; see `emberbox.runtimes.package_tools`.
        build: Debian packages that the image of the build VM has besides the runtime's own, such as
            the tool itself.
    """

    tool: str
    build: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRecipe:
    """What fills a template's page cache, and what a pooled clone runs once after its restore.

    Args:
        run: Files beside the manifest, run one after the other before the snapshot.
        prime: File beside the manifest; None for nothing.
    """

    run: tuple[Path, ...] = ()
    prime: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultLimits:
    """Sizes and bounds of a run that names none.

    Args:
        memory_mib: Memory of the VM in MiB.
        vcpus: Virtual CPUs.
        timeout_s: Wall-clock time in seconds.
        disk_mib: Scratch disk in MiB; None keeps writes in the guest's memory.
        pids: Processes and threads alive at once.
    """

    memory_mib: int = 256
    vcpus: int = 1
    timeout_s: float = 30.0
    disk_mib: int | None = None
    pids: int = 256

    def of_runs(self) -> Limits:
        """Return the bounds of a run that names none."""
        return Limits(timeout_s=self.timeout_s, pids=self.pids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A language that can be run.

    Args:
        name: Equal to its folder's name.
        version: The language's version, for people.
        description: One line for people.
        aliases: Other names.
        extensions: File extensions with their dot.
        folder: Where the manifest lies.
        image: What the root filesystem is made from.
        argv: The command, with `{script}` (or `{output}` where it is compiled first); without
            either where the image's own program is run, which takes no script.
        arguments: The image's own program's arguments where a run names none.
        cwd: Folder in the guest that runs start in; None for the work folder.
        main: Names looked for in an archive, in this order.
        compile: How a program is compiled first; None when nothing is.
        packages: How packages are installed; None where scripts bring none along.
        waiting: None when no interpreter waits.
        warm: What a template runs before its snapshot.
        limits: Defaults of a run.
        env: Added to every run's environment.
        version_argv: Command that prints the language's own version; empty when the manifest names none.
        fingerprint: SHA-256 over all files of the folder but its examples: names, modes and content.
    """

    name: str
    version: str
    description: str
    aliases: tuple[str, ...]
    extensions: tuple[str, ...]
    folder: Path
    image: ImageRecipe
    argv: tuple[str, ...]
    main: tuple[str, ...]
    fingerprint: str
    compile: CompileRecipe | None = None
    packages: PackagesRecipe | None = None
    waiting: WaitingRecipe | None = None
    warm: WarmRecipe = WarmRecipe()
    limits: DefaultLimits = DefaultLimits()
    env: Mapping[str, str] = field(default_factory=_empty, hash=False)
    version_argv: tuple[str, ...] = ()
    cwd: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def manifest(self) -> Path:
        """The manifest's path."""
        return self.folder / "runtime.toml"

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then the aliases."""
        return (self.name, *self.aliases)

    @property
    def inline_name(self) -> str:
        """What inline code is called in the work folder."""
        return f"main{self.extensions[0] if self.extensions else ''}"

    @property
    def holds(self) -> bool:
        """Whether commands for inline code are held in the template."""
        return (self.waiting is not None and self.waiting.hold is not None) or (
            self.compile is not None and self.compile.hold
        )

    @property
    def takes_script(self) -> bool:
        """Whether the command runs a script; False where it is the image's own program."""
        return any(SCRIPT in argument or OUTPUT in argument for argument in self.argv)

    def program(self, script: str) -> str:
        """Return what the command is given: the script, or what was made from it."""
        return f"{script}.out" if any(OUTPUT in argument for argument in self.argv) else script

    def command(self, script: str, args: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the command that runs `script` (a path in the guest), the program's arguments behind it.

        Args:
            script: The script's path in the guest.
            args: Arguments of the program.
        """
        return (*_fill(self.argv, script), *(args or self.arguments))

    def compile_command(self, script: str) -> tuple[str, ...] | None:
        """Return the command that compiles `script`, or None when nothing is compiled."""
        return None if self.compile is None else _fill(self.compile.argv, script)


def _fill(argv: Sequence[str], script: str) -> tuple[str, ...]:
    # A name such as -x.c is a file and no option, whatever the program makes of its arguments.
    script = f"./{script}" if script.startswith("-") else script
    values = {SCRIPT: script, OUTPUT: f"{script}.out"}
    filled = tuple(_fill_one(argument, values) for argument in argv)
    # A program without a folder would be looked for in PATH.
    return (f"./{filled[0]}", *filled[1:]) if argv[0] == OUTPUT and "/" not in filled[0] else filled


def _fill_one(argument: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        before, found, after = argument.partition(placeholder)
        if found:
            return before + value + after
    return argument
