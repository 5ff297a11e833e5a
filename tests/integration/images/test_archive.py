"""A release's packages by apt itself, from a mirror in a folder and by none of the host's settings."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.debian.archive import Archive
from emberbox.images.debian.suites import Suite
from emberbox.images.progress import SilentProgress
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("apt-get", "apt-cache", "dpkg-deb"))), reason="needs apt and dpkg"
)
CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Nobody <nobody@example.test>
Depends: {depends}
Description: nothing
"""


class Mirror:
    """A folder that apt takes for a mirror of one release."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = ""
        folder.mkdir()

    def add(self, name: str, version: str, depends: str | None = None) -> None:
        control = CONTROL.format(name=name, version=version, depends=depends or f"something-{version}")
        tree = self.folder / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        package = self.folder / f"{name}_{version}_all.deb"
        subprocess.run(
            [str(shutil.which("dpkg-deb")), "--root-owner-group", "-b", str(tree), str(package)],
            check=True,
            timeout=PATIENCE_S,
            capture_output=True,
        )
        shutil.rmtree(tree)
        told = (
            f"Filename: {package.name}\nSize: {package.stat().st_size}\n"
            f"SHA256: {digest(package.read_bytes())}\n"
        )
        self.index += f"{control}{told}\n"

    def publish(self, suite: str) -> None:
        folder = self.folder / "dists" / suite / "main" / "binary-amd64"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Packages").write_text(self.index)
        data = self.index.encode()
        listed = f" {digest(data)} {len(data)} main/binary-amd64/Packages\n"
        about = f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
        (folder.parents[1] / "Release").write_text(
            f"{about}Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{listed}"
        )

    def listing(self, suite: str, options: str = "[trusted=yes] ") -> str:
        return f"deb {options}file:{self.folder} {suite} main\n"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    mirror = Mirror(tmp_path / "mirror")
    mirror.add("toy", "1.0")
    mirror.add("toy", "1.2")
    mirror.publish("bookworm")
    return mirror


def archive(listing: str, tmp_path: Path, suite: str = "bookworm") -> Archive:
    folder = tmp_path / "apt"
    folder.mkdir()
    return Archive(Suite(name=suite, listing=listing), "amd64", folder, SilentProgress())


async def test_the_newest_package_is_found_and_downloaded(mirror: Mirror, tmp_path: Path) -> None:
    packages = await archive(mirror.listing("bookworm"), tmp_path).open()
    version, fields = await packages.newest_version("toy")
    assert (version, fields["Depends"]) == ("1.2", "something-1.2")
    target = tmp_path / "target"
    target.mkdir()
    file = await packages.download("toy", version, target)
    assert file.read_bytes() == (mirror.folder / "toy_1.2_all.deb").read_bytes()
    with pytest.raises(RequirementMissing, match="Debian bookworm has no package dash"):
        await packages.newest_version("dash")


async def test_a_release_that_the_mirror_does_not_have_is_named(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed, match="no Debian release 'etch'"):
        await archive(mirror.listing("etch", ""), tmp_path, "etch").open()


async def test_packages_that_nobody_vouches_for_are_not_taken(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(RequirementMissing, match="apt-get install debian-archive-keyring"):
        await archive(mirror.listing("bookworm", ""), tmp_path).open()


async def test_the_hosts_own_apt_has_no_part_in_it(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a host's hooks and pins would do, had they any part: the one fails each update, the other
    # forbids every package.
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "hooks").write_text('APT::Update::Pre-Invoke { "false"; };\nDPkg::Pre-Invoke { "false"; };\n')
    monkeypatch.setenv("APT_CONFIG", str(parts / "hooks"))
    packages = await archive(mirror.listing("bookworm"), tmp_path).open()
    assert (await packages.newest_version("toy"))[0] == "1.2"
    assert os.environ["APT_CONFIG"] == str(parts / "hooks")
