"""Makes the other Debian's root folder."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

from emberbox.images.debian.suites import find_suite
from emberbox.images.tools.requirements import find_program

REPOSITORY = Path(__file__).parents[2]
CHECKOUT = Path("checkout")
"""Where the copy of this checkout lies, relative to the root."""
DATA = Path("data")
"""Where images and templates are made, relative to the root."""
MORE = ("iproute2", "make", "mount", "procps", "python3", "python3-venv", "uidmap")
"""What is on any host, or what `scripts/packages.sh` would not ask for."""
_LEFT_OUT = (
    ".cache",
    ".git",
    ".venv",
    "__pycache__",
    "_builtin",
    "dist",
    "*_cache",
    "*.egg-info",
    ".hypothesis",
)
_HOSTS_OWN = ("etc/resolv.conf", "etc/hosts", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt")
"""Of this host's files those by which the network, the mirror and the package index are reached."""
_INSTALL_S = 1200.0


def make_root(suite: str, folder: Path, *, packages: str) -> None:
    """Install a Debian into `folder`/root.

    Args:
        suite: The release.
        folder: Exists.
        packages: Which list of `scripts/packages.sh`; empty for the shortest.
    """
    root = folder / "root"
    if (root / "installed").exists():
        return
    listing = folder / "sources.list"
    found = asyncio.run(find_suite(suite, folder))
    listing.write_text(found.listing)
    script = [str(REPOSITORY / "scripts/packages.sh"), *([packages] if packages else [])]
    wanted = subprocess.run(
        [*script, "--list"], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    command = [find_program("mmdebstrap"), "--mode=root", "--variant=apt", "--format=directory"]
    command += [
        f"--include={','.join((*wanted, *MORE))}",
        *(f"--aptopt={option}" for option in found.options),
    ]
    # Servers that a package would start have no place in a folder, and no package installed later
    # may start one.
    policy = '"$1"/usr/sbin/policy-rc.d'
    command.append(f"--essential-hook=printf '#!/bin/sh\\nexit 101\\n' > {policy}; chmod 755 {policy}")
    subprocess.run([*command, suite, str(root), str(listing)], check=True, timeout=_INSTALL_S)
    (root / "installed").touch()


def fill_root(root: Path, images: Path | None) -> None:
    """Put this checkout and what belongs to this host into the root.

    Args:
        root: The folder.
        images: An image store to begin with; None for none.
    """
    shutil.copytree(
        REPOSITORY,
        root / CHECKOUT,
        symlinks=True,
        ignore=shutil.ignore_patterns(*_LEFT_OUT),
        dirs_exist_ok=True,
    )
    for name in _HOSTS_OWN:
        _copy(Path("/", name), root / name)
    for file in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        _copy(file, root / "root" / file.relative_to(Path.home()))
    (root / DATA).mkdir(exist_ok=True)
    if images is not None and not (root / DATA / "images").exists():
        shutil.copytree(images, root / DATA / "images", symlinks=True)


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
