from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import SnapshotFailed
from emberbox.vmm.firecracker.jailer.jail import MachineJail, dig_holes

if TYPE_CHECKING:
    from pathlib import Path

root = pytest.mark.skipif(os.geteuid() != 0, reason="jails are made by root")
UID = 790_123


@pytest.fixture
def jail(tmp_path: Path) -> MachineJail:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    made = MachineJail(run_dir, "firecracker", "abc-1")
    made.uid = UID
    made.make()
    return made


@root
def test_what_is_shared_keeps_owner_mode_and_content(jail: MachineJail, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"image")
    image.chmod(0o444)
    jail.share(image, "/drives/0")
    inside = jail.root / "drives/0"
    assert inside.samefile(image)
    assert (image.stat().st_uid, stat.S_IMODE(image.stat().st_mode)) == (0, 0o444)
    jail.remove()
    jail.remove()
    assert image.read_bytes() == b"image"
    assert not jail.base.exists()


@root
def test_a_file_that_not_all_may_read_is_copied_for_this_vmm_alone(jail: MachineJail, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"private")
    private.chmod(0o600)
    jail.share(private, "/kernel")
    inside = (jail.root / "kernel").stat()
    assert (inside.st_uid, stat.S_IMODE(inside.st_mode), inside.st_nlink) == (UID, 0o400, 1)
    assert private.stat().st_uid == 0


@root
def test_a_file_of_another_file_system_is_to_be_mounted(jail: MachineJail) -> None:
    from pathlib import Path

    elsewhere = Path("/proc/version")
    jail.share(elsewhere, "/kernel")
    assert jail.binds == [(elsewhere, jail.root / "kernel")]
    assert (jail.root / "kernel").read_bytes() == b""


@root
def test_a_file_without_a_name_is_copied_from_its_descriptor(jail: MachineJail, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    memory.write_bytes(b"memory")
    memory.chmod(0o444)
    descriptor = os.open(memory, os.O_RDONLY)
    memory.unlink()
    try:
        jail.share_open(descriptor, memory, "/snapshot/memory")
        jail.share_open(descriptor, memory, "/snapshot/again")
    finally:
        os.close(descriptor)
    assert (
        (jail.root / "snapshot/memory").read_bytes()
        == (jail.root / "snapshot/again").read_bytes()
        == b"memory"
    )


def written(jail: MachineJail, name: str, data: bytes = b"state") -> Path:
    path = jail.root / "out" / name
    path.write_bytes(data)
    os.chown(path, UID, UID)
    return path


@root
@pytest.mark.parametrize("freezes", [False, True])
def test_folders_are_taken_back_from_the_vmm(jail: MachineJail, tmp_path: Path, freezes: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, UID, UID)
    for name in ("dev", "dev/net", "run"):
        (jail.root / name).mkdir()
    for folder in (jail.root, *(jail.root / name for name in ("dev", "dev/net", "run"))):
        folder.chmod(0o700)
        os.chown(folder, UID, UID)
    jail.seal(freezes=freezes)
    for name in (".", "dev", "dev/net", "run", "drives", "snapshot"):
        found = (jail.root / name).stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o755), name
    assert (jail.root / "out").stat().st_uid == (UID if freezes else 0)
    (jail.root / "run").rmdir()
    (jail.root / "run").symlink_to(elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        jail.seal(freezes=freezes)
    assert elsewhere.stat().st_uid == UID


@root
def test_what_the_vmm_wrote_is_taken_over(jail: MachineJail, tmp_path: Path) -> None:
    written(jail, "state")
    jail.take("state", tmp_path / "state", 100)
    taken = (tmp_path / "state").stat()
    assert (taken.st_uid, stat.S_IMODE(taken.st_mode)) == (0, 0o600)
    assert (tmp_path / "state").read_bytes() == b"state"
    assert not (jail.root / "out/state").exists()


@root
def test_a_vmm_cannot_have_anything_else_taken_over(jail: MachineJail, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    target = tmp_path / "state"
    out = jail.root / "out"
    (out / "link").symlink_to(secret)
    os.link(secret, out / "hard")
    os.mkfifo(out / "pipe")
    (out / "folder").mkdir()
    written(jail, "long", b"x" * 200)
    twice = written(jail, "twice")
    os.link(twice, out / "again")
    for name in ("link", "hard", "pipe", "folder", "long", "twice", "missing"):
        with pytest.raises(SnapshotFailed):
            jail.take(name, target, 100)
        assert not target.exists(), name
    assert secret.read_text() == "secret"
    assert secret.stat().st_uid == 0


@root
def test_a_folder_that_became_a_link_is_not_followed(jail: MachineJail, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state").write_text("theirs")
    (jail.root / "out").rmdir()
    (jail.root / "out").symlink_to(elsewhere)
    with pytest.raises(SnapshotFailed):
        jail.take("state", tmp_path / "state", 100)
    assert (elsewhere / "state").exists()


@root
def test_an_id_that_was_not_cleaned_is_not_used_again(jail: MachineJail) -> None:
    with pytest.raises(FileExistsError):
        jail.make()


def test_pages_of_zeros_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    path.write_bytes(bytes(1 << 20) + b"x" * 4096 + bytes(1 << 20))
    before = path.read_bytes()
    dig_holes(path)
    assert path.read_bytes() == before
    assert path.stat().st_blocks * 512 < 100_000


@root
@pytest.mark.parametrize("code", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_a_file_that_cannot_be_linked_is_to_be_mounted(
    jail: MachineJail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"image")
    image.chmod(0o444)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    jail.share(image, "/drives/0")
    assert jail.binds == [(image, jail.root / "drives/0")]


@root
def test_a_jail_that_was_made_very_deep_is_removed(jail: MachineJail) -> None:
    folder = os.open(jail.root / "out", os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    jail.remove()
    assert not jail.base.exists()
