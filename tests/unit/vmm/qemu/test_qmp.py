from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from emberbox.errors import VmmDied, VmmTimeout
from emberbox.vmm.process import sockets
from emberbox.vmm.qemu.paced import AT_ONCE, PER_SECOND
from emberbox.vmm.qemu.qmp import Qmp, QmpRefused
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GREETING = {
    "QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": ["oob"]}
}


class FakeQemu:
    """Takes one connection; each step is made by the test, off the loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = sockets.listen(path)
        self.server.settimeout(PATIENCE_S)
        self.peer: socket.socket | None = None
        self.descriptors: list[int] = []
        self._unread = ""

    async def accept(self) -> None:
        peer, _ = await asyncio.to_thread(self.server.accept)
        peer.settimeout(PATIENCE_S)
        self.peer = peer

    async def greet(self) -> None:
        await self.accept()
        await self.say(GREETING)
        negotiation = await self.hear()
        assert negotiation["execute"] == "qmp_capabilities"
        await self.answer(negotiation, {})

    async def say(self, *messages: object) -> None:
        await self.send(b"".join(json.dumps(message).encode() + b"\r\n" for message in messages))

    async def answer(self, command: dict[str, Any], result: object) -> None:
        await self.say({"return": result, **({"id": command["id"]} if "id" in command else {})})

    async def send(self, data: bytes) -> None:
        assert self.peer is not None
        await asyncio.to_thread(self.peer.sendall, data)

    async def hear(self) -> dict[str, Any]:
        assert self.peer is not None
        while True:
            # The library ends no line: a command ends where its object does.
            with suppress(json.JSONDecodeError):
                message, end = json.JSONDecoder().raw_decode(self._unread)
                self._unread = self._unread[end:].lstrip()
                assert isinstance(message, dict)
                return message
            data, descriptors, _, _ = await asyncio.to_thread(socket.recv_fds, self.peer, 4096, 4)
            if not data:
                raise EOFError
            self.descriptors += descriptors
            self._unread = (self._unread + data.decode()).lstrip()

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.server.close()


@pytest.fixture(autouse=True)
def nothing_said_or_left(caplog: pytest.LogCaptureFixture) -> Any:
    """The library's errors are ours to tell, and no failure of one of its tasks may stay unlooked at."""
    yield
    gc.collect()
    said = [*caplog.get_records("call"), *caplog.records]
    assert [record.getMessage() for record in said if record.levelno >= logging.INFO] == []


@pytest_asyncio.fixture
async def qemu(tmp_path: Path) -> AsyncIterator[FakeQemu]:
    before = asyncio.all_tasks()
    fake = FakeQemu(tmp_path / "q.sock")
    yield fake
    fake.close()
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set(), "no task stays"


async def greeted(qemu: FakeQemu, events: list[tuple[str, Any]] | None = None) -> Qmp:
    control = Qmp.connect(qemu.path)
    if events is not None:
        control.on_event = lambda name, data: events.append((name, data))
    await qemu.greet()
    return control


async def test_commands_are_answered_and_events_go_their_own_way_in_order(qemu: FakeQemu) -> None:
    events: list[tuple[str, Any]] = []
    control = await greeted(qemu, events)
    answers = [asyncio.create_task(control.execute(name)) for name in ("one", "two", "three")]
    first, second, third = [await qemu.hear() for _ in answers]
    assert [first["execute"], second["execute"], third["execute"]] == ["one", "two", "three"]
    await qemu.say(
        {"event": "STOP"},
        {"return": 1, "id": first["id"]},
        {"error": {"class": "GenericError", "desc": "no"}, "id": second["id"]},
        {"event": "MIGRATION", "data": {"status": "setup"}},
        {"event": "MIGRATION", "data": {"status": "active"}},
        {"event": "RESUME", "data": None},
        {"return": 3, "id": third["id"]},
    )
    assert await answers[0] == 1
    with pytest.raises(QmpRefused, match="QEMU refused two: no"):
        await answers[1]
    assert await answers[2] == 3
    assert events == [
        ("STOP", {}),
        ("MIGRATION", {"status": "setup"}),
        ("MIGRATION", {"status": "active"}),
        ("RESUME", {}),
    ]
    assert control._client.events.history == (), "a machine that lives long must not gather its events"
    await control.close()


async def test_the_answer_to_a_given_up_command_is_nobody_elses(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    with pytest.raises(VmmTimeout, match=r"did not answer stop within 0\.05 s"):
        await control.execute("stop", timeout_s=0.05)
    given_up = await qemu.hear()
    waiting = asyncio.create_task(control.execute("query-status"))
    asked = await qemu.hear()
    await qemu.say({"return": "late", "id": given_up["id"]}, {"return": "now", "id": asked["id"]})
    assert await waiting == "now"
    await control.close()


async def test_a_command_waits_for_a_qemu_that_still_starts(qemu: FakeQemu) -> None:
    control = Qmp.connect(qemu.path)
    waiting = asyncio.create_task(control.execute("cont", {"a": 1}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await qemu.greet()
    command = await qemu.hear()
    assert (command["execute"], command["arguments"]) == ("cont", {"a": 1})
    await qemu.answer(command, {})
    assert await waiting == {}
    await control.close()


async def test_an_end_fails_what_waits_and_what_follows(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("stop"))
    await qemu.hear()
    qemu.close()
    with pytest.raises(VmmDied, match="QEMU ended while it was to carry out stop"):
        await waiting
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)
    with pytest.raises(VmmDied, match="has closed"):
        await control.execute("cont")
    await control.close()


async def test_an_end_with_the_last_answer_does_not_lose_the_answer(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("quit"))
    await qemu.answer(await qemu.hear(), "bye")
    qemu.close()
    assert await waiting == "bye"
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)


async def test_an_end_before_the_greeting(qemu: FakeQemu) -> None:
    control = Qmp.connect(qemu.path)
    waiting = asyncio.create_task(control.execute("cont"))
    await qemu.accept()
    qemu.close()
    with pytest.raises(VmmDied, match="QEMU ended while it was to carry out cont"):
        await waiting
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)


@pytest.mark.parametrize("greet", [False, True])
async def test_silence_is_bounded(qemu: FakeQemu, greet: bool) -> None:
    control = await greeted(qemu) if greet else Qmp.connect(qemu.path)
    with pytest.raises(VmmTimeout):
        await control.execute("stop", timeout_s=0.05)
    await control.close()
    assert control.lost.done()


async def test_closing_fails_what_waits_and_may_be_repeated(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("stop"))
    await qemu.hear()
    await asyncio.gather(control.close(), control.close())
    await control.close()
    with pytest.raises(VmmDied):
        await waiting
    with suppress(ConnectionResetError), pytest.raises(EOFError):
        await qemu.hear()


async def test_closing_does_not_wait_for_a_qemu_that_reads_nothing(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("stop", {"much": "x" * 4_000_000}))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(PATIENCE_S):
        await control.close()
    with pytest.raises(VmmDied):
        await waiting


NONSENSE = [
    b"nonsense\n",
    b"[1]\n",
    b'"x"\n',
    b"x" * 1_100_000,
    b'{"error": 5}\n',
    b"\xff\xfe\n",
    b"[" * 60_000 + b"\n",
    b'{"return": ' + b"9" * 9_000 + b"}\n",
    b'{"return": 1, "id": []}\n',
]


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nonsense_ends_the_connection(qemu: FakeQemu, nonsense: bytes) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("stop"))
    await qemu.hear()
    with suppress(BrokenPipeError, ConnectionResetError):
        await qemu.send(nonsense)
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)
    assert control.lost.done()
    with pytest.raises(VmmDied):
        await waiting


@pytest.mark.parametrize("nonsense", [*NONSENSE, b'{"QMP": 5}\n', b"{}\n"])
async def test_nonsense_instead_of_a_greeting_ends_the_connection(qemu: FakeQemu, nonsense: bytes) -> None:
    control = Qmp.connect(qemu.path)
    await qemu.accept()
    waiting = asyncio.create_task(control.execute("stop"))
    with suppress(BrokenPipeError, ConnectionResetError):
        await qemu.send(nonsense)
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)
    assert control.lost.done()
    with pytest.raises(VmmDied):
        await waiting


@pytest.mark.parametrize("answer", [{}, {"error": 5}, {"error": {"desc": "no class"}}])
async def test_an_answer_that_is_none_ends_the_connection(qemu: FakeQemu, answer: dict[str, Any]) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("stop"))
    command = await qemu.hear()
    await qemu.say({**answer, "id": command["id"]})
    with pytest.raises(VmmDied):
        await waiting
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)
    assert control.lost.done()


async def test_an_endless_line_is_not_gathered(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    sent = 0
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while sent < 64 * 1024 * 1024:
            await qemu.send(b"x" * 65_536)
            sent += 65_536
    assert sent <= 2 * 1024 * 1024
    await asyncio.wait_for(asyncio.wait({control.lost}), PATIENCE_S)


async def test_a_flood_is_read_at_a_pace_and_leaves_others_their_turns(qemu: FakeQemu) -> None:
    events: list[tuple[str, Any]] = []
    control = await greeted(qemu, events)
    loop = asyncio.get_running_loop()
    began = loop.time()
    flood = asyncio.create_task(qemu.send(b'{"event":"STOP"}\n' * 50_000))
    most, before = 0, 0
    while len(events) < AT_ONCE + 100:
        await asyncio.sleep(0)
        most, before = max(most, len(events) - before), len(events)
    assert most <= 4, "nobody waits for more than a few of its messages"
    assert len(events) <= AT_ONCE + PER_SECOND * (loop.time() - began) + 1
    async with asyncio.timeout(PATIENCE_S):
        await control.close()
        with suppress(BrokenPipeError, ConnectionResetError):
            await flood
    assert control.lost.done(), "what is still to be read is not waited for"


async def test_an_answer_behind_a_flood_is_still_found(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    waiting = asyncio.create_task(control.execute("query-status", timeout_s=PATIENCE_S))
    asked = await qemu.hear()
    await qemu.say(*[{"event": "STOP"}] * (AT_ONCE + 50), {"return": "found", "id": asked["id"]})
    assert await waiting == "found"
    await control.close()


async def test_a_descriptor_can_be_passed(qemu: FakeQemu) -> None:
    control = await greeted(qemu)
    read, write = os.pipe()
    waiting = asyncio.create_task(control.execute("getfd", {"fdname": "x"}, fd=write))
    command = await qemu.hear()
    await qemu.answer(command, {})
    assert await waiting == {}
    os.close(write)
    assert (command["execute"], command["arguments"]) == ("getfd", {"fdname": "x"})
    (received,) = qemu.descriptors
    os.write(received, b"hello")
    os.close(received)
    assert os.read(read, 10) == b"hello"
    os.close(read)
    await control.close()


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(VmmDied):
        Qmp.connect(tmp_path / "missing")


async def test_a_level_that_somebody_set_for_the_librarys_log_is_kept(
    qemu: FakeQemu, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("qemu.qmp.protocol.emberbox")
    with caplog.at_level(logging.DEBUG, logger.name):
        control = await greeted(qemu)
        assert logger.level == logging.DEBUG
        await control.close()
    assert any(record.name == logger.name for record in caplog.records)
    caplog.clear()  # an end of file is told as information


def test_an_engine_that_starts_no_vm_does_not_pay_for_the_library() -> None:
    code = "import sys, emberbox.sandbox.engine, emberbox.vmm.qemu.driver; print('qemu' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
        == "False\n"
    )


def test_sockets_at_long_paths(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with sockets.listen(deep / "a.sock") as server, sockets.connect(deep / "a.sock") as client:
        peer, _ = server.accept()
        with peer:
            client.send(b"hi")
            assert peer.recv(10) == b"hi"
    assert (deep / "a.sock").stat().st_mode & 0o777 == 0o600
