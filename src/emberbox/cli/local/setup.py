"""`emberbox setup`: from a fresh machine to one that runs programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import context
from emberbox.cli.commands import option
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import say
from emberbox.cli.local.setup_kernel import check_kernel, choose_kernel
from emberbox.cli.local.setup_vmm import check_vmm, install_vmm
from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from emberbox.config import Settings
    from emberbox.doctor.needs import Needs
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
  emberbox setup --kernel vmlinux-6.12 --modules lib/modules/6.12
  emberbox setup --vmm firecracker --from firecracker-v1.16.1-x86_64.tgz
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("setup", epilog=_EPILOG)(setup)


def setup(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        option("--runtime -r", "Only this runtime; may be repeated.", "NAME", autocompletion=runtime_names),
    ] = None,
    every: Annotated[bool, option("--all", "Every runtime: takes an hour and some GiB.")] = False,
    yes: Annotated[bool, option("--yes -y", "Install packages without asking.")] = False,
    vmm: Annotated[
        str | None, option("--vmm", "Install this VMM instead, and build nothing: firecracker.", "NAME")
    ] = None,
    version: Annotated[
        str | None, option("--version", "With --vmm: the release to install.", "X.Y.Z")
    ] = None,
    file: Annotated[
        Path | None, option("--from", "With --vmm: its archive, already here; nothing is fetched.", "FILE")
    ] = None,
    sha256: Annotated[
        str | None, option("--sha256", "With --from: its hash, else FILE.sha256.txt holds it.", "HEX")
    ] = None,
    kernel: Annotated[
        str | None,
        option(
            "--kernel", "Build images with this kernel, vmlinux or bzImage; debian: with Debian's.", "FILE"
        ),
    ] = None,
    modules: Annotated[
        Path | None, option("--modules", "With --kernel: its modules, lib/modules/VERSION.", "DIR")
    ] = None,
) -> None:
    """Install what is missing, and build images and templates.

    Without --runtime these are python and bash, and what was built before, anew. Other runtimes are
    built at their first use, or by --runtime or --all. Repeating it is quick.
    """
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.doctor.needs import Needs, look_for_needs
    from emberbox.vmm.kind import InstallWish

    wish = InstallWish(version=version, file=file, sha256=sha256, environment=os.environ)
    check_vmm(vmm, wish)
    settings = ctx.obj.settings()
    check_kernel(kernel, modules, settings, vmm=vmm)
    if vmm is not None:
        run_interruptible(lambda: install_vmm(settings, vmm, wish))
        return
    catalog = context.catalog(settings)
    runtimes = list(catalog) if every else [catalog.get(name) for name in names or first(settings, catalog)]
    needs = look_for_needs()
    # Who cannot build may still use what is built.
    builds = kernel is not None or builds_any(settings, runtimes)
    provide(needs if builds else Needs(needs.running), yes=yes)
    run_interruptible(lambda: build_all(settings, runtimes, kernel, modules))


def first(settings: Settings, catalog: RuntimeCatalog) -> list[str]:
    """Return the names of the runtimes that are built where none is named.

    They are the first ones, and those that ever had an image.
    """
    from emberbox.images import ImageStore

    root = settings.data / "images"
    built = {stored.image.runtime for stored in ImageStore(root).list()} if root.is_dir() else set()
    return [name for name in catalog.names if name in FIRST or name in built]


def builds_any(settings: Settings, runtimes: Sequence[Runtime]) -> bool:
    """Tell whether an image of these runtimes has to be built."""
    store = context.image_store(settings)
    try:
        return any(store.find(runtime) is None for runtime in runtimes)
    except RequirementMissing:
        return True


def provide(needs: Needs, *, yes: bool) -> None:
    """Install the packages that are missing and give this user its numbers, where that may be done.

    Args:
        needs: What is missing; nothing is fine.
        yes: Do not ask. Without it a terminal is asked; without a terminal nothing is done.

    Raises:
        RequirementMissing: It may not be done, was not wished or failed; the message holds the one
            line to type.
    """
    if needs.nothing:
        return
    missing, mend = needs.problem(), needs.mend()
    rights = _rights()
    if rights is None or shutil.which("apt-get") is None:
        raise RequirementMissing(f"{missing}. To mend that takes root's rights", mend=mend)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"{mend}\nDo that?", default=True, err=True)):
        raise RequirementMissing(f"{missing}. Nothing was done (--yes does it without asking)", mend=mend)
    if needs.packages:
        say(f"installing Debian packages on this host: {' '.join(needs.packages)}")
        _install(rights, needs.packages, mend)
    if needs.building.files:
        from emberbox.images.tools.subordinate import grant_command

        _grant(rights, grant_command(needs.building.files), mend)


def _rights() -> list[str] | None:
    """Return what goes before a command that needs root's rights.

    None when they cannot be had without asking.
    """
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    try:
        allowed = (
            subprocess.run([sudo, "-n", "true"], capture_output=True, timeout=_SUDO_S, check=False).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return [sudo, "-n"] if allowed else None


def _install(rights: Sequence[str], packages: Sequence[str], mend: str | None) -> None:
    apt = [*rights, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    with _mended_by(mend, "installing packages failed"):
        subprocess.run([*apt, "update", "-q"], stdout=sys.stderr, timeout=_APT_S, check=False)
        subprocess.run(
            [*apt, "install", "-y", "-q", *packages], stdout=sys.stderr, timeout=_APT_S, check=True
        )


def _grant(rights: Sequence[str], command: str | None, mend: str | None) -> None:
    if command is None:
        raise RequirementMissing(
            "this user has no account, so it cannot be given subordinate numbers", mend=mend
        )
    say(f"giving this user subordinate numbers: {command}")
    with _mended_by(mend, "giving this user subordinate numbers failed"):
        subprocess.run([*rights, *command.split()], stdout=sys.stderr, timeout=_SUDO_S, check=True)


@contextlib.contextmanager
def _mended_by(mend: str | None, failed: str) -> Iterator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        raise RequirementMissing(f"{failed}: {error}", mend=mend) from error


async def build_all(
    settings: Settings, runtimes: Sequence[Runtime], kernel: str | None, modules: Path | None
) -> None:
    """Choose the kernel, then build the images and templates of runtimes, each with its own progress.

    What is there is kept.
    """
    from emberbox.cli.local.hint import run_hint
    from emberbox.cli.progress import ShownProgress

    await choose_kernel(settings, kernel, modules)
    async with context.make_engine(settings) as engine:
        say(f"VMs run on {engine.driver.reason}")
        for runtime in runtimes:
            with ShownProgress(runtime.name) as progress:
                await engine.image(runtime, progress)
                progress.step("template", None)
                await engine.template(runtime.name, progress=progress)
    say(f"ready: {', '.join(runtime.name for runtime in runtimes)}. Try: {run_hint(runtimes[0])}")
