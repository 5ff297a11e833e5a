"""Installing from a file: hashes, archives that are not what they should be, and programs that do not run."""

from __future__ import annotations

import tarfile
from functools import partial
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import EmberboxError
from emberbox.vmm.firecracker.install.installation import install
from emberbox.vmm.firecracker.install.release import installed
from emberbox.vmm.firecracker.install.sources import copy_release
from tests.integration.install.archives import OTHER, RELEASE, Archive, make_archive, program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the archive that a person brought is."""
    return tmp_path / RELEASE.archive


async def bring(folder: Path, file: Path, archive: Archive, sha256: str | None = None) -> str:
    """Install `archive` from `file`, and return what was said about it."""
    file.write_bytes(archive.content)
    try:
        return (
            await install(folder, RELEASE, partial(copy_release, file=file, sha256=sha256 or archive.sha256))
        ).version
    except EmberboxError as error:
        assert installed(folder) is None
        assert {entry.name for entry in folder.iterdir()} <= {".lock"}
        return error.message


async def test_with_a_hash(folder: Path, file: Path, archive: Archive) -> None:
    assert await bring(folder, file, archive, archive.sha256.upper()) == "1.16.1"
    assert file.exists()


async def test_with_a_hash_beside_it(folder: Path, file: Path, archive: Archive) -> None:
    file.write_bytes(archive.content)
    file.with_name(f"{file.name}.sha256.txt").write_text(f"{archive.sha256}  {RELEASE.archive}\n")
    assert (await install(folder, RELEASE, partial(copy_release, file=file))).version == "1.16.1"


async def test_without_a_hash_it_is_asked_for(folder: Path, file: Path, archive: Archive) -> None:
    file.write_bytes(archive.content)
    with pytest.raises(EmberboxError, match="--sha256 HEX"):
        await install(folder, RELEASE, partial(copy_release, file=file))
    assert installed(folder) is None


@pytest.mark.parametrize(("sha256", "told"), [("f" * 64, "wrong SHA-256"), ("abc", "64 hexadecimal digits")])
async def test_with_a_hash_that_is_not_its_own(
    folder: Path, file: Path, archive: Archive, sha256: str, told: str
) -> None:
    assert told in await bring(folder, file, archive, sha256)
    assert file.exists()


async def test_a_file_that_is_not_there(folder: Path, file: Path) -> None:
    with pytest.raises(EmberboxError, match="cannot be read"):
        await install(folder, RELEASE, partial(copy_release, file=file, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"", b"text", make_archive().content[:200], b"\x1f\x8b" + b"\xff" * 100])
async def test_what_is_no_archive(folder: Path, file: Path, content: bytes) -> None:
    assert "is not the archive of a release" in await bring(folder, file, Archive(content))


async def test_an_archive_for_another_machine(folder: Path, file: Path) -> None:
    said = await bring(folder, file, make_archive(OTHER))
    assert "another version or architecture" in said
    assert OTHER.member("firecracker") in said
    assert RELEASE.archive in said


async def test_an_archive_without_the_jailer(folder: Path, file: Path) -> None:
    assert RELEASE.member("jailer") in await bring(
        folder, file, make_archive(programs={"firecracker": program("firecracker")})
    )


async def test_names_in_an_archive_lead_nowhere(folder: Path, file: Path, tmp_path: Path) -> None:
    evil = {
        "../../../escaped": b"x",
        str(tmp_path / "absolute"): b"x",
        f"release-v1.16.1-{RELEASE.architecture}/../../escaped": b"x",
    }
    assert await bring(folder, file, make_archive(also=evil)) == "1.16.1"
    assert not list(tmp_path.rglob("escaped"))
    assert not list(tmp_path.rglob("absolute"))


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
async def test_only_plain_files_are_taken(folder: Path, file: Path, kind: bytes) -> None:
    def change(entry: tarfile.TarInfo) -> None:
        entry.type, entry.linkname, entry.size = kind, "/etc/shadow", 0

    assert "not a plain file" in await bring(folder, file, make_archive(change=change))


async def test_a_program_that_is_far_too_large(folder: Path, file: Path) -> None:
    vast = {"firecracker": bytes(65 * 1024 * 1024), "jailer": program("jailer")}
    assert "far less" in await bring(folder, file, make_archive(programs=vast))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x7fELF" + bytes(60), "no program for this machine"),
        (b"#!/bin/sh\nexit 3\n", "ended with 3"),
        (b"#!/bin/sh\necho hello\n", "does not run here"),
        (b"#!/bin/sh\nkill -9 $$\n", "ended with -9"),
        (b"#!/nonexistent/interpreter\n", "does not run here"),
        (program("jailer", "1.15.0"), "says that it is version 1.15.0"),
    ],
)
async def test_a_program_that_does_not_run(folder: Path, file: Path, content: bytes, told: str) -> None:
    said = await bring(
        folder, file, make_archive(programs={"firecracker": program("firecracker"), "jailer": content})
    )
    assert told in said
    assert "jailer" in said
