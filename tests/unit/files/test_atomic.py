"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.files import atomic
from emberbox.files.atomic import PARTIAL, AtomicFile, remove_partial, sync, write_file
from tests.unit.blobs.mounts import small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A umask for the test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_bytes_and_text_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"\0\xff\r\n")
    assert (tmp_path / "x").read_bytes() == b"\0\xff\r\n"
    write_file(tmp_path / "x", "größer\n")
    assert (tmp_path / "x").read_bytes() == "größer\n".encode()
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("bits", [0o600, 0o644, 0o755, 0o444])
def test_a_mode_is_what_was_asked_for(tmp_path: Path, umask: int, bits: int) -> None:
    write_file(tmp_path / "x", b"", mode=bits)
    assert mode(tmp_path / "x") == bits


def test_no_mode_is_that_of_new_files(tmp_path: Path, umask: int) -> None:
    write_file(tmp_path / "x", b"", mode=None)
    assert mode(tmp_path / "x") == 0o666 & ~umask


def test_until_it_is_whole_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "x", mode=0o644) as made:
        made.file.write(b"secret")
        made.file.flush()
        (partial,) = tmp_path.iterdir()
        assert partial.name.startswith(PARTIAL)
        assert mode(partial) == 0o600
        made.commit()
    assert names(tmp_path) == ["x"]


def test_pieces_in_a_folder_aside_and_under_the_longest_name(tmp_path: Path) -> None:
    (tmp_path / "aside").mkdir()
    target = tmp_path / ("n" * 255)
    with AtomicFile(target, aside=tmp_path / "aside") as made:
        for number in range(10):
            made.file.write(bytes([number]) * 100_000)
        assert len(names(tmp_path / "aside")) == 1
        assert not target.exists()
        made.commit()
    assert target.stat().st_size == 1_000_000
    assert names(tmp_path / "aside") == []
    write_file(target, b"beside")
    assert target.read_bytes() == b"beside"


def test_what_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"before")
    made = AtomicFile(tmp_path / "x")
    made.file.write(b"half")
    made.discard()
    made.discard()
    with pytest.raises(RuntimeError), AtomicFile(tmp_path / "x") as made:
        made.file.write(b"half")
        raise RuntimeError
    with AtomicFile(tmp_path / "x") as made:
        made.file.write(b"half")
    assert (tmp_path / "x").read_bytes() == b"before"
    assert names(tmp_path) == ["x"]


def test_discarding_what_was_committed_changes_nothing(tmp_path: Path) -> None:
    made = AtomicFile(tmp_path / "x")
    made.commit()
    made.discard()
    assert names(tmp_path) == ["x"]


def test_a_place_that_cannot_be_taken_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder/full").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_file(tmp_path / "folder", b"x")
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "none/x", b"x")
    assert names(tmp_path) == ["folder"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", mib=1) as disk:
        write_file(disk / "x", b"before")
        with pytest.raises(OSError, match="No space"):
            write_file(disk / "x", bytes(2 * 1024 * 1024))
        with pytest.raises(OSError, match="No space"), AtomicFile(disk / "x") as made:
            for _ in range(300):  # the last of it is still in the buffer when the disk is full
                made.file.write(bytes(4000))
            made.commit()
        assert (disk / "x").read_bytes() == b"before"
        assert names(disk) == ["x"]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_what_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    write_file(tmp_path / "x", b"before")

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "the disk failed")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="the disk failed"):
        write_file(tmp_path / "x", b"after", mode=0o644, durable=True)
    monkeypatch.undo()
    assert (tmp_path / "x").read_bytes() == b"before"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_to_last_is_on_the_disk_before_its_name_and_then_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[tuple[str, bytes | None]] = []

    def fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        target = tmp_path / "x"
        synced.append((path, target.read_bytes() if target.exists() else None))

    monkeypatch.setattr(os, "fsync", fsync)
    write_file(tmp_path / "x", b"after", durable=durable)
    if not durable:
        assert synced == []
        return
    (first, before), (second, after) = synced
    assert first.startswith(str(tmp_path / PARTIAL))
    assert (before, second, after) == (None, str(tmp_path), b"after")


def test_sync_takes_files_and_folders(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"")
    sync(tmp_path / "x")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "y")


def test_who_writes_last_wins_and_nobody_ever_sees_a_half(tmp_path: Path) -> None:
    whole = [bytes([number]) * 200_000 for number in range(4)]
    write_file(tmp_path / "x", whole[0])
    done = threading.Event()
    seen: set[bytes] = set()

    def look() -> None:
        while not done.is_set():
            seen.add((tmp_path / "x").read_bytes())

    def write(data: bytes) -> None:
        for _ in range(20):
            write_file(tmp_path / "x", data)

    looking = threading.Thread(target=look)
    writing = [threading.Thread(target=write, args=(data,)) for data in whole]
    for thread in (looking, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    looking.join()
    assert seen <= set(whole)
    assert names(tmp_path) == ["x"]


def test_what_a_killed_process_left_is_known_and_removed(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"before")
    program = (
        "import os, pathlib, sys; from emberbox.files.atomic import AtomicFile\n"
        "made = AtomicFile(pathlib.Path(sys.argv[1])); made.file.write(b'half'); made.file.flush()\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "x"]).returncode == -9
    assert (tmp_path / "x").read_bytes() == b"before"
    left = next(path for path in tmp_path.iterdir() if path.name.startswith(PARTIAL))
    remove_partial(tmp_path)
    assert left.exists(), "it may be somebody's"
    os.utime(left, (0, time.time() - atomic.ABANDONED_S))
    with AtomicFile(tmp_path / "y") as young:
        remove_partial(tmp_path)
        young.commit()
    assert names(tmp_path) == ["x", "y"]
    left.write_bytes(b"half")
    remove_partial(tmp_path, older_than_s=0.0)
    assert names(tmp_path) == ["x", "y"]
    remove_partial(tmp_path / "none")


def test_no_program_that_is_started_gets_hold_of_it(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "x") as made:
        assert not os.get_inheritable(made.file.fileno())
