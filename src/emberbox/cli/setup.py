"""`emberbox setup`: from a fresh machine to one that runs programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import context, exit_codes
from emberbox.cli.completion import runtime_names
from emberbox.cli.failures import say
from emberbox.cli.setup_vmm import Wish, install_vmm
from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.config import Settings
    from emberbox.runtimes import Runtime, RuntimeCatalog

FIRST = ("python", "bash")
"""What is built where nothing is named; other languages come at their first use."""
_APT_S = 1800.0
_SUDO_S = 10.0
_EPILOG = """\b
Exit codes:
  0      all is there
  2      a mistake in the options, the file or its hash
  69     something is missing or did not come; the message says what to do
  70     a build failed, or the disk is full

\b
Examples:
  emberbox setup --runtime python --runtime go
  emberbox setup --all
  emberbox setup --vmm firecracker
  emberbox setup --vmm firecracker --from firecracker-v1.16.1-x86_64.tgz
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup", epilog=_EPILOG)(setup)


def setup(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Option("--runtime", "-r", metavar="NAME", help="Only this runtime; may be repeated.", autocompletion=runtime_names),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every runtime: takes an hour and some GiB.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Install packages without asking.")] = False,
    vmm: Annotated[
        str | None, typer.Option("--vmm", metavar="NAME", help="Install this VMM instead, and build nothing: firecracker.")
    ] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="X.Y.Z", help="With --vmm: the release to install.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="With --vmm: its archive, already here; nothing is fetched."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HEX", help="With --from: its hash, else FILE.sha256.txt holds it.")
    ] = None,
) -> int:
    """Install what is missing, and build images and templates: of python and bash, and anew what was built before.

    Other runtimes are built at their first use, or by --runtime or --all. Repeating it is quick.
    """
    from emberbox.cli.interrupts import run_interruptible

    wish = Wish(vmm=vmm, version=version, file=file, sha256=sha256)
    wish.check()
    settings = ctx.obj.settings()
    if vmm is not None:
        return run_interruptible(lambda: install_vmm(settings, wish))
    catalog = context.catalog(settings)
    runtimes = list(catalog) if every else [catalog.get(name) for name in names or first(settings, catalog)]
    install_missing(missing_packages(), yes=yes)
    return run_interruptible(lambda: build_all(settings, runtimes))


def first(settings: Settings, catalog: RuntimeCatalog) -> list[str]:
    """Return the names of the runtimes that are built where none is named: the first ones, and those that ever had an image."""
    from emberbox.images import ImageStore

    root = settings.data / "images"
    built = {stored.image.runtime for stored in ImageStore(root).list()} if root.is_dir() else set()
    return [name for name in catalog.names if name in FIRST or name in built]


def missing_packages() -> list[str]:
    """Return the Debian packages that this host lacks."""
    from emberbox.doctor import machines, probes
    from emberbox.images import missing_requirements

    machine = os.uname().machine
    packages = {requirement.package for requirement in missing_requirements()}
    if probes.find(machines.qemu_program(machine)) is None:
        packages.add(machines.QEMU_PACKAGES.get(machine, "qemu-system"))
    for program, package in {"bwrap": "bubblewrap", "setpriv": "util-linux"}.items():
        if probes.find(program) is None:
            packages.add(package)
    return sorted(packages)


def install_missing(packages: Sequence[str], *, yes: bool) -> None:
    """Install packages where that may be done.

    Args:
        packages: Debian packages; none is fine.
        yes: Do not ask. Without it a terminal is asked; without a terminal nothing is installed.

    Raises:
        RequirementMissing: It may not be done, was not wished or failed; the message holds the line to type.
    """
    if not packages:
        return
    from emberbox.doctor.finding import install_command

    mend = install_command(*packages)
    missing = f"these packages are missing: {' '.join(packages)}"
    rights = _rights()
    if rights is None or shutil.which("apt-get") is None:
        raise RequirementMissing(f"{missing}; installing them takes root's rights", mend=mend)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Install {' '.join(packages)}?", default=True, err=True)):
        raise RequirementMissing(f"{missing}; nothing was installed (--yes installs without asking)", mend=mend)
    say(f"installing {' '.join(packages)}")
    _install(rights, packages, mend)


def _rights() -> list[str] | None:
    """Return what goes before a command that needs root's rights; None when they cannot be had without asking."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    try:
        allowed = subprocess.run([sudo, "-n", "true"], capture_output=True, timeout=_SUDO_S, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return None
    return [sudo, "-n"] if allowed else None


def _install(rights: Sequence[str], packages: Sequence[str], mend: str) -> None:
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    try:
        subprocess.run([*apt, "update", "-q"], stdout=sys.stderr, timeout=_APT_S, check=False)
        subprocess.run([*apt, "install", "-y", "-q", *packages], stdout=sys.stderr, timeout=_APT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise RequirementMissing(f"installing packages failed: {error}", mend=mend) from error


async def build_all(settings: Settings, runtimes: Sequence[Runtime]) -> int:
    """Build the images and templates of runtimes, each with its own progress. What is there already is kept."""
    from emberbox.cli.progress import ShownProgress

    async with context.make_engine(settings) as engine:
        say(f"VMs run on {engine.driver.reason}")
        for runtime in runtimes:
            with ShownProgress(runtime.name) as progress:
                await engine.image(runtime, progress)
                progress.step("template", None)
                await engine.template(runtime.name, progress=progress)
    say(f"ready: {', '.join(runtime.name for runtime in runtimes)}. Try: emberbox run -c 'print(6 * 7)' -r python")
    return exit_codes.OK
