"""Each request that an agent can be asked is bounded by the host's clock, also where it drips."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import GuestTimeout
from emberbox.guest import ExecRequest, GuestClient, GuestProcess
from emberbox.guest.credit import INITIAL_CREDIT
from emberbox.guest.deadline import STEP_BYTES, Progress
from emberbox.guest.frames import FrameType, encode_credit
from tests.hung import BOUND_S, cut_bounds, public_waits
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from emberbox.testing import FakeRun
    from tests.unit.guest.conftest import Connect

FED = ExecRequest(argv=("program",), stdin=True)
LARGE = bytes(4 * INITIAL_CREDIT)


async def _all(pieces: AsyncIterator[object]) -> None:
    async for _ in pieces:
        pass


async def _run(client: GuestClient) -> GuestProcess:
    return await client.start(FED, patience_s=BOUND_S)


async def _told(client: GuestClient, tell: Callable[[GuestProcess], Awaitable[object]]) -> None:
    process = await _run(client)
    await tell(process)
    await process.result(timeout_s=None)


CASES: dict[str, Callable[[GuestClient], Awaitable[object]]] = {
    "GuestClient.clock": lambda client: client.clock(1, timeout_s=BOUND_S),
    "GuestClient.close": lambda client: client.close(),
    "GuestClient.delete": lambda client: client.delete("a"),
    "GuestClient.flush": lambda client: client.flush(timeout_s=BOUND_S),
    "GuestClient.hello": lambda client: client.hello(timeout_s=BOUND_S),
    "GuestClient.info": lambda client: client.info(),
    "GuestClient.list_dir": lambda client: client.list_dir("a"),
    "GuestClient.make_directory": lambda client: client.make_directory("a"),
    "GuestClient.metrics": lambda client: client.metrics(),
    "GuestClient.ping": lambda client: client.ping(timeout_s=BOUND_S),
    "GuestClient.prepare": lambda client: client.prepare(waiting=None, timeout_s=BOUND_S),
    "GuestClient.read_bytes": lambda client: client.read_bytes("a", 10),
    "GuestClient.read_file": lambda client: _all(client.read_file("a")),
    "GuestClient.shutdown": lambda client: client.shutdown(),
    "GuestClient.start": lambda client: _told(client, GuestProcess.close_stdin),
    "GuestClient.stat": lambda client: client.stat("a"),
    "GuestClient.tar_in": lambda client: client.tar_in("a", LARGE),
    "GuestClient.tar_out": lambda client: _all(client.tar_out("a")),
    "GuestClient.wait_closed": lambda client: client.ping(timeout_s=BOUND_S),
    "GuestClient.write_file": lambda client: client.write_file("a", LARGE),
    "GuestProcess.cancel": lambda client: _told(client, GuestProcess.cancel),
    "GuestProcess.close_stdin": lambda client: _told(client, GuestProcess.close_stdin),
    "GuestProcess.collect": lambda client: _told(
        client, lambda process: process.collect(stdin=LARGE, keep_stdout=0, keep_stderr=0, timeout_s=None)
    ),
    "GuestProcess.kill": lambda client: _told(client, GuestProcess.kill),
    "GuestProcess.output": lambda client: _told(client, lambda process: _all(process.output())),
    "GuestProcess.result": lambda client: _told(client, lambda process: process.result(timeout_s=None)),
    "GuestProcess.signal": lambda client: _told(client, lambda process: process.signal(15)),
    "GuestProcess.write_stdin": lambda client: _told(client, lambda process: process.write_stdin(LARGE)),
}


def test_each_request_has_a_case() -> None:
    assert set(CASES) == public_waits(GuestClient) | public_waits(GuestProcess)


@pytest.mark.parametrize("name", CASES)
async def test_an_agent_that_answers_nothing_costs_its_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cut_bounds(monkeypatch)
    client, _ = await connect(clone=True, silent=True)
    lost: list[object] = []
    client.when_lost(lost.append)
    async with asyncio.timeout(PATIENCE_S):
        if name == "GuestClient.close":
            await CASES[name](client)
        else:
            with pytest.raises(GuestTimeout):
                await CASES[name](client)
        await client.wait_closed()
    assert lost == ([] if name == "GuestClient.close" else [client.failure]), "what is behind it can be ended"


async def test_a_loss_is_told_to_who_asks_late(connect: Connect) -> None:
    client, _ = await connect(silent=True)
    with pytest.raises(GuestTimeout):
        await client.ping(timeout_s=0.05)
    lost: list[object] = []
    client.when_lost(lost.append)
    assert lost == [client.failure]


class TestDrips:
    """An agent that moves a little now and then does not move on."""

    @pytest.fixture(autouse=True)
    def brief(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("emberbox.guest.files.STALL_S", 0.5)

    async def test_a_download(self, connect: Connect) -> None:
        async def drip(run: FakeRun) -> dict[str, Any]:
            while True:
                await run.write(b"x")
                await asyncio.sleep(0.05)

        client, agent = await connect()
        agent.operations["read_file"] = drip
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(GuestTimeout, match="read_file"):
                await _all(client.read_file("a"))
        assert client.closed

    async def test_an_upload(self, connect: Connect) -> None:
        async def sip(run: FakeRun) -> dict[str, Any]:
            while True:
                run._window._open += 16
                run._send(FrameType.CREDIT, run._number, encode_credit(16), 0)
                await asyncio.sleep(0.05)

        client, agent = await connect()
        agent.operations["write_file"] = sip
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(GuestTimeout, match="write_file"):
                await client.write_file("a", LARGE)


async def test_a_transfer_has_its_patience_anew_with_each_step() -> None:
    progress, never = Progress(PATIENCE_S), asyncio.Event()
    progress._waited_s = PATIENCE_S
    progress.moved(STEP_BYTES - 1)
    assert not await progress.wait(never)
    progress.moved(1)
    soon = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, soon.set)
    assert await progress.wait(soon)
