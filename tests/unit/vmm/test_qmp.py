from __future__ import annotations

import asyncio
import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import VmmDied, VmmTimeout
from emberbox.vmm import sockets
from emberbox.vmm.qemu.qmp import Qmp, QmpRefused

if TYPE_CHECKING:
    from pathlib import Path


class FakeQemu:
    def __init__(self, path: Path) -> None:
        self.server = sockets.listen(path)
        self.peer: socket.socket | None = None

    def say(self, *messages: object) -> None:
        if self.peer is None:
            self.peer, _ = self.server.accept()
        self.peer.sendall(b"".join(json.dumps(m).encode() + b"\n" for m in messages))

    def close(self) -> None:
        if self.peer is not None:
            self.peer.close()
        self.server.close()


@pytest.fixture
def qemu(tmp_path: Path) -> Any:
    fake = FakeQemu(tmp_path / "q.sock")
    yield fake
    fake.close()


async def test_commands_are_answered_in_order_and_events_go_their_own_way(qemu: FakeQemu, tmp_path: Path) -> None:
    events: list[str] = []
    control = await Qmp.connect(tmp_path / "q.sock", lambda name, data: events.append(name))
    answers = [control.send("one"), control.send("two"), control.send("three")]
    qemu.say({"QMP": {}}, {"return": 1}, {"event": "STOP"}, {"error": {"desc": "no"}}, {"return": 3})
    assert await answers[0] == 1
    with pytest.raises(QmpRefused, match="QEMU refused two: no"):
        await answers[1]
    assert await answers[2] == 3
    assert events == ["STOP"]
    control.close()
    await control.lost


async def test_an_end_fails_what_waits_and_what_follows(qemu: FakeQemu, tmp_path: Path) -> None:
    control = await Qmp.connect(tmp_path / "q.sock")
    waiting = control.send("stop")
    qemu.say({"QMP": {}})
    qemu.close()
    with pytest.raises(VmmDied):
        await waiting
    with pytest.raises(VmmDied):
        await control.send("cont")


async def test_silence_is_bounded(qemu: FakeQemu, tmp_path: Path) -> None:
    control = await Qmp.connect(tmp_path / "q.sock")
    with pytest.raises(VmmTimeout):
        await control.execute("stop", timeout_s=0.05)
    control.close()
    await control.lost


@pytest.mark.parametrize("nonsense", [b"nonsense\n", b"[1]\n", b'"x"\n', b"x" * 1_100_000, b'{"error": 5}\n'])
async def test_nonsense_ends_the_connection(qemu: FakeQemu, tmp_path: Path, nonsense: bytes) -> None:
    control = await Qmp.connect(tmp_path / "q.sock")
    waiting = control.send("stop")
    qemu.say({"QMP": {}})
    assert qemu.peer is not None
    await asyncio.get_running_loop().run_in_executor(None, qemu.peer.sendall, nonsense)
    await asyncio.wait_for(control.lost, 5)
    with pytest.raises(VmmDied):
        await waiting


async def test_a_descriptor_can_be_passed(qemu: FakeQemu, tmp_path: Path) -> None:
    control = await Qmp.connect(tmp_path / "q.sock")
    read, write = os.pipe()
    control.send("getfd", {"fdname": "x"}, fd=write)
    os.close(write)
    qemu.say({"QMP": {}})
    assert qemu.peer is not None
    data, (received, *_), _, _ = socket.recv_fds(qemu.peer, 4096, 1)
    assert json.loads(data) == {"execute": "getfd", "arguments": {"fdname": "x"}}
    os.write(received, b"hello")
    os.close(received)
    assert os.read(read, 10) == b"hello"
    os.close(read)
    control.close()
    await control.lost


async def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(VmmDied):
        await Qmp.connect(tmp_path / "missing")


def test_sockets_at_long_paths(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with sockets.listen(deep / "a.sock") as server, sockets.connect(deep / "a.sock") as client:
        peer, _ = server.accept()
        with peer:
            client.send(b"hi")
            assert peer.recv(10) == b"hi"
    assert (deep / "a.sock").stat().st_mode & 0o777 == 0o600
