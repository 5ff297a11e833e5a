"""scripts/packages.sh on hosts that lack something: stand-ins tell what they were asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

SCRIPT = Path(__file__).parents[3] / "scripts/packages.sh"
INSTALLED = "mmdebstrap e2fsprogs lz4 zstd util-linux ca-certificates"


class Host:
    """A host with its own programs before those of this one.

    Args:
        folder: Where they go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.program("apt-get", f'echo "apt-get $*" >> {self.log}')
        self.program("usermod", f'echo "usermod $*" >> {self.log}')
        self.program("python3", "exit 0")
        self.has(INSTALLED)

    def program(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def has(self, packages: str) -> None:
        """Say which packages are installed."""
        cases = " | ".join(packages.split())
        self.program(
            "dpkg-query",
            f"for last; do :; done; case $last in {cases}) echo 'install ok installed' ;; *) exit 1 ;; esac",
        )

    def user(self, name: str, number: int, *, sudo: bool = False) -> None:
        self.program("id", f'[ "$1" = -un ] && echo {name} || echo {number}')
        if sudo:
            self.program("sudo", '[ "$1" = -n ] && exit 0; exec "$@"')
        else:
            self.program("sudo", "exit 1")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin"}
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


@pytest.fixture
def a_host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_user_is_asked_for_all_in_one_line(a_host: Host) -> None:
    a_host.user("nobody-of-this-host", 54321)
    done = a_host.run("test")
    assert done.returncode == 1
    (line,) = [line.strip() for line in done.stderr.splitlines() if "sudo" in line]
    installing, numbers = line.split(" && sudo usermod ")
    assert {"qemu-system-x86", "bubblewrap", "uidmap", "skopeo"} <= set(
        installing.split()
    ) or "qemu-system-arm" in installing
    assert not {"lz4", "zstd"} & set(installing.split()), "they are there"
    assert numbers.startswith("--add-subuids ")
    assert numbers.endswith(" nobody-of-this-host")
    assert a_host.log.read_text() == ""


def test_what_is_installed_and_why_is_said_before(a_host: Host) -> None:
    a_host.user("root", 0)
    a_host.program(
        "apt-get", f'echo "apt-get $*"; echo "apt-get $*" >> {a_host.log}; [ "$1" = update ] || exit 9'
    )
    done = a_host.run("test")
    first = done.stdout.splitlines()[0]
    assert first.startswith("Installing Debian packages on this host: ")
    assert "bubblewrap (to run VMs)" in first
    assert first.endswith("libc6-dev (for the tests)")
    assert "uidmap" not in first, "root needs none"
    assert done.returncode == 9, "what fails is not passed over"
    assert "usermod" not in a_host.log.read_text()


def test_a_user_who_may_gets_all(a_host: Host) -> None:
    a_host.user("nobody-of-this-host", 54321, sudo=True)
    done = a_host.run()
    assert done.returncode == 0
    assert (
        "Giving nobody-of-this-host numbers of further users on this host, to build images: usermod --add-sub"
        in done.stdout
    )
    asked = a_host.log.read_text().splitlines()
    assert "uidmap" in asked[1].split()
    assert asked[-1].startswith("usermod --add-subuids ")


def test_nothing_is_said_where_nothing_is_missing(a_host: Host) -> None:
    a_host.user("root", 0)
    a_host.run()
    asked = a_host.log.read_text().splitlines()[-1].partition("--no-install-recommends")[2]
    a_host.log.write_text("")
    a_host.has(f"{INSTALLED} {asked}")
    done = a_host.run()
    assert (done.returncode, done.stdout, done.stderr, a_host.log.read_text()) == (0, "", "", "")
