"""`emberbox setup --vmm firecracker` as people run it: exit codes, words, kills, full disks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.firecracker.install.release import installed
from tests.integration.install.archives import RELEASE, Archive, make_archive
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.install.servers import Page

EMBERBOX = [sys.executable, "-c", "import sys; from emberbox.cli.main import main; sys.exit(main())", "setup"]
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")


class Command:
    """The command with a data folder of its own."""

    def __init__(self, data: Path, releases: str) -> None:
        self.environment = {
            **os.environ,
            "EMBERBOX_DATA": str(data),
            "EMBERBOX_FIRECRACKER_RELEASES": releases,
        }

    async def start(self, *arguments: str, before: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *before,
            *EMBERBOX,
            *arguments,
            env=self.environment,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )

    async def run(self, *arguments: str, before: tuple[str, ...] = ()) -> tuple[int | None, str]:
        process = await self.start(*arguments, before=before)
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode, said.decode()


@pytest.fixture
def command(tmp_path: Path, page: Page) -> Command:
    return Command(tmp_path / "data", page.url)


async def test_installs_and_repeats(command: Command, folder: Path) -> None:
    for _ in range(2):
        code, said = await command.run("--vmm", "firecracker")
        assert (code, f"Firecracker 1.16.1 is at {folder / '1.16.1'}" in said) == (0, True)
    assert installed(folder) is not None


async def test_from_a_file_that_tells_its_version(command: Command, folder: Path, tmp_path: Path) -> None:
    archive = make_archive(replace(RELEASE, version="1.17.3"))
    file = tmp_path / archive.release.archive
    file.write_bytes(archive.content)
    code, said = await command.run("--vmm", "firecracker", "--from", str(file))
    assert (code, "--sha256 HEX" in said) == (2, True)
    code, said = await command.run("--vmm", "firecracker", "--from", str(file), "--sha256", archive.sha256)
    assert (code, "Firecracker 1.17.3" in said) == (0, True)
    found = installed(folder)
    assert found is not None
    assert found.version == "1.17.3"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--version", "1.16.1"], 2, "go with --vmm"),
        (["--from", "x.tgz"], 2, "go with --vmm"),
        (["--vmm", "qemu"], 2, "--vmm takes firecracker"),
        (["--vmm", "firecracker", "--sha256", "0" * 64], 2, "goes with --from"),
        (["--vmm", "firecracker", "--version", "latest"], 2, "no version"),
        (["--vmm", "firecracker", "--version", "1.16.0"], 2, "too old"),
        (["--vmm", "firecracker", "--version", "1.99.9"], 69, "404"),
        (["--vmm", "firecracker", "--from", "/nonexistent.tgz", "--sha256", "0" * 64], 2, "cannot be read"),
    ],
)
async def test_what_cannot_be(command: Command, arguments: list[str], code: int, told: str) -> None:
    found, said = await command.run(*arguments)
    assert (found, told in said, "Traceback" in said) == (code, True, False)


async def test_a_kill_during_the_download_leaves_nothing_that_is_taken_for_real(
    command: Command, folder: Path, page: Page, archive: Archive
) -> None:
    page.pause_after[archive.path] = 100
    process = await command.start("--vmm", "firecracker")
    await asyncio.wait_for(page.paused.wait(), PATIENCE_S)
    process.kill()
    await process.communicate()
    assert installed(folder) is None
    assert [entry.name for entry in folder.iterdir() if entry.name.startswith(".new-")]
    page.pause_after.clear()
    page.go_on.set()
    code, _ = await command.run("--vmm", "firecracker")
    assert code == 0
    assert {entry.name for entry in folder.iterdir()} == {".lock", "1.16.1"}


async def test_an_interrupt_during_the_download_leaves_nothing(
    command: Command, folder: Path, page: Page, archive: Archive
) -> None:
    page.pause_after[archive.path] = 100
    process = await command.start("--vmm", "firecracker")
    await asyncio.wait_for(page.paused.wait(), PATIENCE_S)
    process.terminate()
    _, said = await process.communicate()
    assert (process.returncode, b"Traceback" in said) == (143, False)
    assert {entry.name for entry in folder.iterdir()} == {".lock"}


def mounted(folder: Path, options: str) -> tuple[str, ...]:
    """Return what goes before a command so that `folder` is a small file system, for it alone."""
    folder.mkdir(parents=True)
    script = f'mount -t tmpfs -o {options} none "{folder}" && exec "$@"'
    return ("/usr/bin/unshare", "--mount", "sh", "-c", script, "sh")


@ROOT
async def test_a_disk_that_is_full(command: Command, tmp_path: Path, page: Page) -> None:
    large = make_archive(also={"filler": os.urandom(300_000)})
    page.files.update(large.pages())
    code, said = await command.run("--vmm", "firecracker", before=mounted(tmp_path / "data", "size=100k"))
    assert (code, "no space left" in said, "EMBERBOX_DATA" in said, "Traceback" in said) == (
        70,
        True,
        True,
        False,
    )


@ROOT
async def test_a_disk_on_which_nothing_may_be_run(command: Command, tmp_path: Path) -> None:
    code, said = await command.run("--vmm", "firecracker", before=mounted(tmp_path / "data", "noexec"))
    assert (code, "mounted noexec" in said, "EMBERBOX_DATA" in said, "Traceback" in said) == (
        69,
        True,
        True,
        False,
    )
