"""Open templates have a bound of memory, and what is in use is never closed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import CapacityExhausted
from emberbox.files.locks import is_locked, take_lock
from emberbox.images import SilentProgress
from emberbox.model import MIB
from emberbox.sandbox.templates.opened import OpenTemplates
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

ROOM_MIB = 100


class Shelf:
    """Templates that are opened, and what is kept ready of them."""

    def __init__(self, folder: Path, wait_s: float = 0.05) -> None:
        self.folder = folder
        self.opened = OpenTemplates(ROOM_MIB, wait_s)
        self.opened.stock = self
        self.closed: list[str] = []
        self.counted_on: set[str] = set()
        self.dropped: list[str] = []

    async def open(self, key: str, size_mib: int, scope: str | None = None, progress: Any = None) -> Any:
        lease = take_lock(self.folder / key, what="testing", shared=True)
        try:
            async with self.opened.opening(key, scope, size_mib * MIB, progress) as take_in:
                template: Any = SimpleNamespace(
                    record=SimpleNamespace(key=key),
                    runtime=SimpleNamespace(name="toy"),
                    snapshot=SimpleNamespace(close=lambda: self._close(key)),
                )
                take_in(template, lease)
        except BaseException:
            lease.release()
            raise
        return template

    async def _close(self, key: str) -> None:
        self.closed.append(key)

    def uses(self, key: str) -> bool:
        return key in self.counted_on

    async def drop(self, key: str) -> None:
        self.dropped.append(key)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


async def test_what_was_unused_for_longest_makes_room(shelf: Shelf) -> None:
    for key in "abc":
        await shelf.open(key, 30)
    assert shelf.opened.get("a") is not None  # used again
    await shelf.open("d", 30)
    assert shelf.closed == ["b"]
    assert shelf.opened.get("b") is None
    assert not is_locked(shelf.folder / "b")
    assert is_locked(shelf.folder / "d")
    await shelf.opened.close_all()
    assert (sorted(shelf.closed), shelf.opened.size()) == (["a", "b", "c", "d"], 0)


async def test_what_is_in_use_stays(shelf: Shelf) -> None:
    let_go = shelf.opened.hold(await shelf.open("a", 60))
    with pytest.raises(CapacityExhausted, match=r"take the 100 MiB .* raise templates\.memory_mib"):
        await shelf.open("b", 60)
    assert (shelf.closed, shelf.opened.size()) == ([], 60 * MIB)
    let_go()
    await shelf.open("b", 60)
    assert shelf.closed == ["a"]


async def test_who_waits_for_room_is_told_and_goes_on(tmp_path: Path) -> None:
    told: list[str] = []

    class News(SilentProgress):
        def step(self, name: str, fraction: float | None) -> None:
            told.append(name)

    shelf = Shelf(tmp_path, PATIENCE_S)
    let_go = shelf.opened.hold(await shelf.open("a", 60))
    waiting = asyncio.ensure_future(shelf.open("b", 60, progress=News()))
    await until(lambda: bool(told))
    let_go()
    await waiting
    assert told == ["waiting for room for a template"]


async def test_what_somebody_counts_on_stays(shelf: Shelf) -> None:
    for key in "abc":
        await shelf.open(key, 30)
    shelf.counted_on.add("a")
    await shelf.open("d", 30)
    assert shelf.closed == shelf.dropped == ["b"]


async def test_what_is_beyond_its_scopes_share_goes_first(shelf: Shelf) -> None:
    await shelf.open("ours", 10)
    for key in ("a1", "a2", "a3"):
        await shelf.open(key, 30, "a")
    assert shelf.closed == [], "nobody else needs the room"
    await shelf.open("b1", 30, "b")
    assert shelf.closed == ["a1"]
    await shelf.open("b2", 10, "b")
    assert shelf.closed == ["a1", "a2"]
    await shelf.open("c", 30)
    assert shelf.closed == ["a1", "a2", "ours"], "nobody is beyond its share any more"


async def test_one_that_is_larger_than_the_room_is_let_in_alone(shelf: Shelf) -> None:
    await shelf.open("a", 10)
    await shelf.open("b", 200)
    assert shelf.closed == ["a"]


async def test_one_that_cannot_be_opened_takes_no_room(shelf: Shelf) -> None:
    with pytest.raises(ZeroDivisionError):
        async with shelf.opened.opening("a", None, 60 * MIB, None):
            raise ZeroDivisionError
    assert shelf.opened.size() == 0


async def test_the_end_closes_all_while_others_still_open_and_close(shelf: Shelf) -> None:
    held, ending = asyncio.Event(), asyncio.Event()

    async def close(key: str) -> None:
        shelf.closed.append(key)
        if key == "a":
            ending.set()
            await held.wait()

    shelf._close = close  # type: ignore[method-assign]
    for key in "abc":
        await shelf.open(key, 30)
    end = asyncio.create_task(shelf.opened.close_all())
    await asyncio.wait_for(ending.wait(), PATIENCE_S)
    await shelf.open("d", 60)
    assert shelf.closed == ["a", "b"], "there was no room beside b"
    held.set()
    await asyncio.wait_for(end, PATIENCE_S)
    assert shelf.closed == ["a", "b", "c", "d"]
    assert not any(is_locked(shelf.folder / key) for key in "abcd")


async def test_an_opening_that_fails_behind_the_end_tells_why(shelf: Shelf) -> None:
    with pytest.raises(OSError, match="no such file"):
        async with shelf.opened.opening("a", None, MIB, None):
            await shelf.opened.close_all()
            raise OSError("no such file")
