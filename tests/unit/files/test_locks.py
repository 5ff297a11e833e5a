"""Locks: who gets them, who waits, and that they never outlive their holder."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import DataFolderBusy, RequirementMissing
from emberbox.files import locks
from emberbox.files.locks import Lock, is_locked, take_lock, try_lock, wait_for_lock
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it.lock"


@pytest.fixture
def held(path: Path) -> Iterator[Lock]:
    """A lock that somebody holds."""
    with take_lock(path, what="this test") as lock:
        yield lock


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def shared_by(path: Path) -> Lock:
    return await wait_for_lock(path, what="it", timeout_s=PATIENCE_S, shared=True)


def test_one_holds_it_and_then_another(path: Path) -> None:
    lock = try_lock(path)
    assert lock is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert try_lock(path) is None
    assert try_lock(path, shared=True) is None
    assert is_locked(path)
    lock.release()
    lock.release()
    assert lock.fileno() == -1
    assert not is_locked(path)
    with take_lock(path, what="it") as again:
        assert again.fileno() >= 0


def test_many_share_it_and_none_has_it_alone_meanwhile(path: Path) -> None:
    with take_lock(path, what="it", shared=True), take_lock(path, what="it", shared=True):
        assert try_lock(path) is None
        assert is_locked(path)
    assert not is_locked(path)


def test_what_is_busy_is_told(held: Lock, path: Path) -> None:
    with pytest.raises(DataFolderBusy, match="busy with this test; try again when it is done") as caught:
        take_lock(path, what="this test")
    assert caught.value.detail == str(path)
    assert str(path) not in caught.value.message


def test_folders_can_be_locked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with take_lock(folder, what="it", make=False):
        assert is_locked(folder)
        (folder / "file").touch()
    assert not is_locked(folder)
    with take_lock(folder, what="it", make=False):
        (folder / "file").unlink()
        folder.rmdir()
    assert not is_locked(folder)


def test_what_must_exist_is_not_made(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        try_lock(path, make=False)
    assert not is_locked(path)
    assert not path.exists()


def test_links_are_not_followed(tmp_path: Path, path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(path)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("again", [True, False])
def test_what_is_locked_has_the_name(path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    flock = fcntl.flock
    replaced: list[int] = []

    def race(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if not replaced:
            # Another process removes the file between its opening and its locking, and a third makes a new
            # one.
            replaced.append(path.stat().st_ino)
            path.rename(path.with_name("old"))
            if again:
                path.touch()

    monkeypatch.setattr(fcntl, "flock", race)
    with take_lock(path, what="it") as lock:
        monkeypatch.undo()
        assert os.fstat(lock.fileno()).st_ino == path.stat().st_ino != replaced[0]
        assert is_locked(path)


def test_a_folder_that_goes_meanwhile_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    flock = fcntl.flock

    def race(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        folder.rmdir()

    monkeypatch.setattr(fcntl, "flock", race)
    before = open_files()
    with pytest.raises(FileNotFoundError):
        take_lock(folder, what="it", make=False)
    assert open_files() == before


def test_a_file_that_goes_without_an_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda _descriptor, _operation: path.unlink())
    assert try_lock(path) is None


def test_the_death_of_its_holder_frees_it(path: Path) -> None:
    program = (
        "import sys, pathlib; from emberbox.files.locks import take_lock\n"
        "lock = take_lock(pathlib.Path(sys.argv[1]), what='it'); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_locked(path)
    finally:
        process.kill()
        process.communicate()
    assert not is_locked(path)


def test_programs_that_are_started_do_not_hold_it(path: Path) -> None:
    program = [sys.executable, "-c", "print('here', flush=True); input()"]
    with take_lock(path, what="it"):
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"here\n"
        assert not is_locked(path)
    finally:
        child.communicate(b"\n")


async def test_waiting_is_told_once_and_ends_when_it_is_free(held: Lock, path: Path) -> None:
    told: list[str] = []
    work = wait_for_lock(path, what="it", timeout_s=PATIENCE_S, waiting=lambda: told.append("waiting"))
    waiting = asyncio.create_task(work)
    await asyncio.sleep(0.35)
    assert not waiting.done()
    held.release()
    with await waiting:
        assert is_locked(path)
    assert told == ["waiting"]


async def test_what_is_free_is_not_waited_for(path: Path) -> None:
    lock = await wait_for_lock(path, what="it", timeout_s=0.0, waiting=lambda: pytest.fail("nobody has it"))
    with lock:
        assert is_locked(path)


async def test_waiting_has_an_end_and_the_callers_error(held: Lock, path: Path) -> None:
    with pytest.raises(DataFolderBusy, match="busy with installing; it did not end within 0 s"):
        await wait_for_lock(path, what="installing", timeout_s=0.1)
    with pytest.raises(RequirementMissing, match="busy with installing"):
        await wait_for_lock(path, what="installing", timeout_s=0.0, busy=RequirementMissing)


async def test_sharing_waits_for_who_has_it_alone(held: Lock, path: Path) -> None:
    waiting = [asyncio.create_task(shared_by(path)) for _ in range(3)]
    await asyncio.sleep(0.1)
    held.release()
    shared = await asyncio.gather(*waiting)
    assert try_lock(path) is None
    for lock in shared:
        lock.release()
    assert not is_locked(path)


async def test_cancelling_leaves_nothing_locked(held: Lock, path: Path) -> None:
    waiting = asyncio.create_task(wait_for_lock(path, what="it", timeout_s=PATIENCE_S))
    await asyncio.sleep(0.2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.release()
    assert not is_locked(path)


async def test_what_a_thread_still_gets_is_given_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path, *, shared: bool = False) -> Lock | None:
        begun.set()
        go_on.wait(PATIENCE_S)
        return try_lock(path, shared=shared)

    monkeypatch.setattr(locks, "try_lock", slow)
    waiting = asyncio.create_task(wait_for_lock(path, what="it", timeout_s=PATIENCE_S))
    await asyncio.to_thread(begun.wait, PATIENCE_S)
    waiting.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    monkeypatch.undo()
    async with asyncio.timeout(PATIENCE_S):
        with await wait_for_lock(path, what="it", timeout_s=PATIENCE_S):
            assert path.exists()


async def test_many_who_wait_leave_threads_to_others(held: Lock, path: Path) -> None:
    waiting = [asyncio.create_task(shared_by(path)) for _ in range(100)]
    async with asyncio.timeout(PATIENCE_S):
        assert await asyncio.to_thread(lambda: "here") == "here"
    held.release()
    for lock in await asyncio.gather(*waiting):
        lock.release()


async def test_a_place_that_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await wait_for_lock(tmp_path / "none/it.lock", what="it", timeout_s=1.0)
