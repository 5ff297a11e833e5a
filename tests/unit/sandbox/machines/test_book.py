"""The engine's book: who lives, and who ended badly and why."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.errors import CapacityExhausted, EmberboxError, GuestGone, GuestTimeout, NotFound
from emberbox.sandbox.machines.book import MachineBook, Place
from emberbox.sandbox.machines.kept import TEXT_BYTES, KeptMachines
from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec, MachineState

if TYPE_CHECKING:
    from pathlib import Path


class StubMachine:
    pid = 4711

    def __init__(self, state: MachineState = MachineState.RUNNING, told: str | None = None) -> None:
        self.status = state
        self.told = told

    def poll(self) -> MachineState:
        return self.status

    async def trouble(self) -> str | None:
        return self.told


class StubGuest:
    def __init__(self, failure: EmberboxError | None = None) -> None:
        self.failure = failure


def make_book(folder: Path) -> MachineBook:
    return MachineBook(KeptMachines(folder / "ended", count=4, age_s=3600), "qemu")


def entered(book: MachineBook, folder: Path, name: str = "a-1", machine: StubMachine | None = None) -> Place:
    run_dir = folder / name
    run_dir.mkdir()
    spec = MachineSpec(
        id=name, run_dir=run_dir, vcpus=2, memory_mib=128, kernel=folder / "k", initramfs=folder / "i"
    )
    (run_dir / "console.log").write_text("its console\n")
    (run_dir / "vmm.log").write_text("its log\n")
    place = book.enter(spec, UndoStack(), runtime="python", source="clone")
    place.machine = cast("Any", machine)
    return place


async def test_a_machine_that_lives_is_in_the_book_with_its_console(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    place = entered(book, tmp_path)
    (entry,) = await book.entries()
    assert (entry.id, entry.state, entry.pid, entry.runtime, entry.driver) == (
        "a-1",
        "starting",
        None,
        "python",
        "qemu",
    )
    place.machine = cast("Any", StubMachine())
    assert ((await book.get("a-1")).state, (await book.get("a-1")).pid) == ("running", 4711)
    assert await book.console("a-1") == "its console\n"
    assert await book.vmm_log("a-1") == "its log\n"


async def test_one_that_was_ended_on_purpose_leaves_nothing(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    for number, failure in enumerate((None, GuestGone("its stream ended, since the template was frozen"))):
        place = entered(book, tmp_path, f"a-{number}", StubMachine(MachineState.KILLED))
        place.guest = cast("Any", StubGuest(failure))
        await place.leave()
    given_up = entered(book, tmp_path, "a-2")
    given_up.blame(asyncio.CancelledError())
    await given_up.leave()
    assert await book.entries() == []
    for read in (book.get, book.console, book.vmm_log):
        with pytest.raises(NotFound):
            await read("a-1")


@pytest.mark.parametrize(
    ("machine", "failure", "blamed", "reason"),
    [
        (None, None, CapacityExhausted("no room"), "no room"),
        (None, None, OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (
            StubMachine(MachineState.EXITED, "its VMM was ended by a signal (SIGABRT)"),
            None,
            None,
            "a signal (SIGABRT)",
        ),
        (StubMachine(MachineState.EXITED), GuestGone("gone"), None, "its VMM ended by itself"),
        (
            StubMachine(MachineState.KILLED),
            GuestTimeout("the agent did not answer ping"),
            None,
            "did not answer ping",
        ),
    ],
)
async def test_one_that_ended_badly_is_kept_and_why(
    tmp_path: Path,
    machine: StubMachine | None,
    failure: EmberboxError | None,
    blamed: Exception | None,
    reason: str,
) -> None:
    book = make_book(tmp_path)
    place = entered(book, tmp_path, machine=machine)
    place.guest = cast("Any", StubGuest(failure))
    if blamed is not None:
        place.blame(blamed)
    await place.leave()
    entry = await make_book(tmp_path).get("a-1")
    assert reason in (entry.reason or "")
    assert (entry.state, entry.pid) == ("exited", None)
    assert entry.ended_at is not None
    assert await book.console("a-1") == "its console\n"
    assert await book.vmm_log("a-1") == "its log\n"


async def test_what_is_kept_is_the_end_of_it(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    place = entered(book, tmp_path, machine=StubMachine(MachineState.EXITED))
    (tmp_path / "a-1/console.log").write_text("x" * 2 * TEXT_BYTES + "the end")
    await place.leave()
    told = await book.console("a-1")
    assert told.endswith("xthe end")
    assert len(told) == TEXT_BYTES


async def test_those_that_live_come_first(tmp_path: Path) -> None:
    book = make_book(tmp_path)
    bad = entered(book, tmp_path, "a-1", StubMachine(MachineState.EXITED))
    await bad.leave()
    for name in ("a-2", "a-3"):
        entered(book, tmp_path, name, StubMachine())
        await asyncio.sleep(0.01)
    assert [entry.id for entry in await book.entries()] == ["a-3", "a-2", "a-1"]
