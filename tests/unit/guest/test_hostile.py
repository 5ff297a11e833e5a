"""Guests that lie, flood, stall and babble: the host ends the session, and nothing else."""

from __future__ import annotations

import asyncio
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emberbox.errors import GuestError, GuestRequestFailed, GuestVersionMismatch, GuestViolation
from emberbox.guest import ExecRequest, GuestClient
from emberbox.guest.credit import INITIAL_CREDIT
from emberbox.guest.frames import Frame, FrameType, encode
from emberbox.testing import FakeAgent, FakeRun, Misconduct
from tests.patience import PATIENCE_S
from tests.unit.guest.test_frames import VECTORS, bytes_of, frames

if TYPE_CHECKING:
    from tests.unit.guest.conftest import Connect

RUN = ExecRequest(argv=("program",))
HELLO = encode(FrameType.HELLO, 0, b'{"protocol":1,"minor":0,"agent":"x","features":[]}')


async def collect(client: GuestClient) -> Any:
    return await (await client.start(RUN)).collect(keep_stdout=100, keep_stderr=100, timeout_s=PATIENCE_S)


async def babble(data: bytes, *, opened: bool = True, greeted: bool = True) -> tuple[GuestClient, Any]:
    """Connect a client to a guest that says `data` once channel 1 is open, then hangs up.

    Returns what became of the run.
    """
    mine, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=mine)
    client = GuestClient(*await asyncio.open_connection(sock=theirs))
    try:
        if greeted:
            writer.write(HELLO)
            await client.hello(timeout_s=PATIENCE_S)
            await reader.readexactly(12)
        run = asyncio.create_task(collect(client)) if opened else None
        if run is not None:
            await reader.read(1)
        writer.write(data)
        writer.write_eof()
        if run is not None:
            await asyncio.wait((run,), timeout=PATIENCE_S)
            assert run.done()
        await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
        return client, run.exception() if run is not None else client.failure
    finally:
        await client.close()
        writer.transport.abort()


@pytest.mark.parametrize("kind", list(Misconduct))
async def test_misconduct_ends_the_session_for_all_who_wait(connect: Connect, kind: Misconduct) -> None:
    client, _ = await connect(misconduct=kind)
    process = await client.start(RUN)
    results = await asyncio.wait_for(
        asyncio.gather(process.result(timeout_s=PATIENCE_S), client.ping(), return_exceptions=True),
        PATIENCE_S,
    )
    if kind is Misconduct.RESULT_TWICE:
        assert isinstance(results[0], GuestRequestFailed | GuestViolation)
    else:
        assert isinstance(results[0], GuestViolation)
    assert isinstance(results[1], GuestViolation)
    assert isinstance(client.failure, GuestViolation)
    assert "sandbox was ended" in client.failure.message


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["violations"] if v["side"] != "agent"], ids=lambda v: v["name"]
)
async def test_vectors_of_violations(vector: dict[str, Any]) -> None:
    client, error = await babble(bytes_of(vector))
    assert isinstance(client.failure, GuestViolation)
    assert isinstance(error, GuestViolation)


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["sessions"] if v["side"] == "host"], ids=lambda v: v["name"]
)
async def test_vectors_of_sessions(vector: dict[str, Any]) -> None:
    data = b"".join(bytes.fromhex(frame) for frame in vector["frames"])
    client, _ = await babble(data, opened=False, greeted=False)
    expected = GuestVersionMismatch if "refused_at" in vector else GuestViolation
    assert isinstance(client.failure, expected)


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_guest_error(data: bytes) -> None:
    _, error = asyncio.run(babble(data))
    assert isinstance(error, GuestError)


_SENSE = st.sampled_from(
    [
        Frame(FrameType.EVENT, 1, b'{"event":"started","pid":7}'),
        Frame(FrameType.EVENT, 1, b'{"event":"later","x":[{}]}'),
        Frame(FrameType.DATA, 1, b"x" * 1000, 1),
        Frame(FrameType.DATA, 1, b"", 0x81),
        Frame(FrameType.DATA, 1, b"", 0x82),
        Frame(FrameType.CREDIT, 1, b"\0\0\0\1"),
        Frame(FrameType.RESULT, 1, b'{"ok":true}'),
        Frame(FrameType.RESULT, 1, b'{"ok":true,"reason":"exited","exit_code":"0"}'),
        Frame(FrameType.RESULT, 1, b'{"ok":false,"error":{"code":"no_space","message":"full"}}'),
        Frame(FrameType.RESULT, 1, b'{"ok":false,"error":{"code":"NO SPACE","message":7}}'),
        Frame(FrameType.RESULT, 1, b'{"ok":false,"error":[]}'),
        Frame(FrameType.HELLO, 0, b'{"protocol":1,"minor":0,"agent":"x","features":[]}'),
        Frame(FrameType.REFUSE, 0, b'{"code":"x","message":"\\u001b[2J"}'),
        Frame(FrameType.REFUSE, 0, b"{}"),
    ]
)


@settings(max_examples=80)
@given(st.lists(st.one_of(_SENSE, frames()), max_size=10))
def test_any_frames_end_in_a_guest_error(sent: list[Frame]) -> None:
    _, error = asyncio.run(babble(b"".join(encode(*one) for one in sent)))
    assert isinstance(error, GuestError)
    assert str(error).isprintable()


async def test_program_that_starts_twice() -> None:
    started = encode(FrameType.EVENT, 1, b'{"event":"started","pid":7}')
    _, error = await babble(started * 2)
    assert isinstance(error, GuestViolation)


async def test_what_comes_after_giving_up_is_thrown_away_and_granted(connect: Connect) -> None:
    client, agent = await connect(silent=True)
    process = await client.start(RUN)
    process.abandon()
    for _ in range(16):
        agent.send(FrameType.DATA, 1, bytes(65_536), 1)
    agent.send(FrameType.DATA, 1, b"", 0x81)
    agent.send(FrameType.RESULT, 1, b'{"ok":false,"error":{"code":"cancelled","message":"as asked"}}')
    with pytest.raises(GuestRequestFailed):
        await process.result(timeout_s=PATIENCE_S)
    assert [piece async for piece in process.output()] == []
    assert client.failure is None


async def test_memory_of_a_session_is_bounded(connect: Connect) -> None:
    async def drip(run: FakeRun) -> int:
        """Send frames of one byte, in turns on both streams."""
        for _ in range(20_000):
            await run.write(b"o")
            await run.write(b"e", "stderr")
        filled.set()
        await run.stopped.wait()
        return 0

    filled = asyncio.Event()
    client, agent = await connect(program=drip)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        process = await client.start(RUN)
        await asyncio.wait_for(filled.wait(), PATIENCE_S)
        await client.ping()
        assert tracemalloc.get_traced_memory()[0] - before < 4 * INITIAL_CREDIT
    finally:
        tracemalloc.stop()
    process.abandon()
    await agent.wait_idle()


async def test_flood_is_read_no_faster_than_allowed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.session.FRAMES_PER_SECOND", 1000)

    async def drip(run: FakeRun) -> int:
        for _ in range(1500):
            await run.write(b"x")
        return 0

    client, _ = await connect(program=drip)
    loop = asyncio.get_running_loop()
    start = loop.time()
    outcome = await collect(client)
    await client.ping()
    assert outcome.stdout_bytes == 1500
    assert loop.time() - start > 0.4


async def test_guest_that_reads_nothing_holds_up_only_its_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.guest.session.FLUSH_S", 0.1)
    monkeypatch.setattr("emberbox.guest.session.UNSENT_BYTES", 1)
    mine, theirs = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=mine, limit=1)
    writer.write(HELLO)
    client = GuestClient(*await asyncio.open_connection(sock=theirs))
    await client.hello(timeout_s=PATIENCE_S)
    errors = await asyncio.gather(
        *(client.write_file(f"f{n}", bytes(INITIAL_CREDIT)) for n in range(8)), return_exceptions=True
    )
    assert all(isinstance(error, GuestError) for error in errors)
    assert client.closed
    await client.close()
    writer.transport.abort()


async def test_agent_may_end_a_run_ahead_of_everything_else() -> None:
    async with FakeAgent(misconduct=Misconduct.RESULT_WITHOUT_OK) as agent:
        client = GuestClient(*await agent.connect())
        await client.hello(timeout_s=PATIENCE_S)
        with pytest.raises(GuestViolation):
            await client.read_bytes("x", 10)
        await client.close()
