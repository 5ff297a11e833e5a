from __future__ import annotations

import asyncio
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import (
    GuestGone,
    GuestRequestFailed,
    GuestTimeout,
    GuestVersionMismatch,
    GuestViolation,
    InvalidInput,
    InvalidPath,
)
from emberbox.guest import ExecRequest, GuestClient, WaitingSpec
from emberbox.guest.frames import FrameType, encode
from emberbox.guest.session import MAX_CHANNELS
from emberbox.testing import FakeAgent, FakeProgram
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.guest.conftest import Connect

RUN = ExecRequest(argv=("program",))
HELLO = encode(FrameType.HELLO, 0, b'{"protocol":1,"minor":0,"agent":"x","features":[]}')


async def test_hello_tells_who_answers(connect: Connect) -> None:
    client, agent = await connect(greet=False)
    info = await client.hello(timeout_s=PATIENCE_S)
    assert (info.agent, info.features) == ("0.1.0", ("exec", "files", "tar", "waiting"))
    assert agent.requests == []
    await client.ping()
    assert agent.greetings[0]["protocol"] == 1


async def test_hello_that_was_lost_is_asked_for_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, agent = await connect(clone=True)
    agent.greetings.append({})  # so that the next HELLO counts as a later one, which the agent answers
    monkeypatch.setattr("emberbox.guest.greeting.HELLO_AGAIN_S", 0.05)
    assert (await client.hello(timeout_s=PATIENCE_S)).agent == "0.1.0"
    await client.ping()


async def test_another_version_is_refused_with_both_named(connect: Connect) -> None:
    client, agent = await connect(greet=False, hello={"protocol": 2})
    with pytest.raises(GuestVersionMismatch, match=r"host speaks protocol 1, the agent 2.*rebuild the image"):
        await client.hello(timeout_s=PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while not agent.greetings:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert agent.greetings[0]["code"] == "protocol_version"


async def test_agent_that_refuses(connect: Connect) -> None:
    client, agent = await connect(greet=False, clone=True)
    agent.send_raw(
        bytes.fromhex("0000003002000000 00000000") + b'{"code":"protocol_version","message":"I want 2"}'
    )
    with pytest.raises(GuestVersionMismatch, match="I want 2"):
        await client.hello(timeout_s=PATIENCE_S)


async def test_agent_that_never_greets_is_given_up(connect: Connect) -> None:
    client, _ = await connect(greet=False, clone=True)
    with pytest.raises(GuestTimeout):
        await client.hello(timeout_s=0.05)
    assert isinstance(client.failure, GuestTimeout)


async def test_clone_goes_on_with_resume_and_exec_right_behind(connect: Connect) -> None:
    client, agent = await connect(clone=True, program=FakeProgram(stdout=b"hi"))
    pending = client.start_resume(entropy=bytes(64), unix_ns=123, hostname="box-1", disk_bytes=None)
    process = await client.start(RUN)
    assert await pending.answer(5) == 123
    outcome = await process.collect(keep_stdout=10, keep_stderr=10, timeout_s=PATIENCE_S)
    assert outcome.stdout == b"hi"
    assert [request["op"] for request in agent.requests] == ["resume", "exec"]
    with pytest.raises(InvalidInput):
        client.start_resume(entropy=bytes(8), unix_ns=1, hostname="x")


async def test_clone_whose_agent_greets_all_the_same(connect: Connect) -> None:
    client, agent = await connect(clone=True)
    pending = client.start_resume(entropy=bytes(32), unix_ns=1, hostname="a")
    agent.send_raw(HELLO)
    assert await pending.answer(5) == 1
    agent.send_raw(HELLO)
    with pytest.raises(GuestViolation):
        await client.ping()


async def test_small_operations(connect: Connect) -> None:
    client, _ = await connect()
    await client.start_resume(entropy=bytes(32), unix_ns=5, hostname="a", disk_bytes=10).answer(PATIENCE_S)
    assert await client.clock(7, timeout_s=PATIENCE_S) == (5, 7)
    assert (await client.info()).cpus == 1
    assert (await client.metrics()).processes == 4
    assert (await client.prepare(waiting=None, timeout_s=PATIENCE_S)).waiting is False
    assert (await client.prepare(waiting=WaitingSpec(("python3",)), timeout_s=PATIENCE_S)).waiting is True
    await client.flush(timeout_s=PATIENCE_S)
    await client.shutdown()


async def test_files(connect: Connect) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield bytes(100_000)

    client, agent = await connect()
    assert await client.write_file("a/b.txt", b"hello") == 5
    assert await client.write_file("a/b.txt", b" you", append=True) == 9
    assert await client.write_file("/tmp/big", pieces()) == 800_000
    assert await client.read_bytes("a/b.txt", 100) == b"hello you"
    assert b"".join([data async for data in client.read_file("a/b.txt", offset=6, limit=2)]) == b"yo"
    assert sum([len(data) async for data in client.read_file("/tmp/big")]) == 800_000
    assert [(entry.name, entry.type) for entry in await client.list_dir()] == [("a", "directory")]
    assert [entry.name for entry in await client.list_dir("/", recursive=True)] == ["tmp/big", "work/a/b.txt"]
    assert (await client.stat("a/b.txt")).name == "b.txt"
    await client.make_directory("c")
    await client.delete("a", recursive=True)
    await client.delete("a", missing_ok=True)
    assert "/work/a/b.txt" not in agent.files


async def test_errors_of_the_agent_harm_nothing_else(connect: Connect) -> None:
    client, _ = await connect(files={"x": b"12345"})
    with pytest.raises(GuestRequestFailed) as caught:
        await client.read_bytes("missing", 10)
    assert caught.value.reason == "not_found"
    with pytest.raises(GuestRequestFailed, match="more than the 4 bytes"):
        await client.read_bytes("x", 4)
    with pytest.raises(GuestRequestFailed, match="more than 0 entries"):
        await client.list_dir(max_entries=0)
    assert await client.read_bytes("x", 5) == b"12345"


async def test_tar_both_ways(connect: Connect) -> None:
    client, agent = await connect()
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        member = tarfile.TarInfo("one.txt")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"one"))
    summary = await client.tar_in("in", source.getvalue())
    assert (summary.entries, summary.bytes, agent.files["/work/in/one.txt"]) == (1, 3, b"one")
    data = b"".join([piece async for piece in client.tar_out("in")])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["one.txt"]
    with pytest.raises(GuestRequestFailed, match="more than 2 bytes") as caught:
        _ = [piece async for piece in client.tar_out("in", max_bytes=2)]
    assert caught.value.reason == "too_large", "what was cut short is not taken for the whole"


async def test_leaving_a_download_early_lets_it_go(connect: Connect) -> None:
    client, agent = await connect(files={"big": bytes(5_000_000)})
    download = client.read_file("big")
    assert await anext(download)
    await download.aclose()
    await client.ping()
    await agent.wait_idle()


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 4097, "\ud800"])
async def test_paths_that_cannot_be(connect: Connect, path: str) -> None:
    client, agent = await connect()
    with pytest.raises(InvalidPath):
        await client.stat(path)
    assert agent.requests == []


async def test_path_that_is_not_utf8_travels_in_base64(connect: Connect) -> None:
    client, agent = await connect()
    with pytest.raises(GuestRequestFailed):
        await client.stat(b"a\xff".decode("utf-8", "surrogateescape"))
    assert agent.requests[0]["path_b64"] == "Yf8="
    assert "path" not in agent.requests[0]


async def test_slow_agent_is_waited_for(connect: Connect) -> None:
    client, _ = await connect(slow_s=0.1)
    await client.ping(timeout_s=PATIENCE_S)


async def test_silent_agent_costs_its_sandbox(connect: Connect) -> None:
    client, _ = await connect(silent=True, program=FakeProgram(delay_s=3600))
    process = await client.start(RUN)
    with pytest.raises(GuestTimeout, match=r"ping within 0\.05 s"):
        await client.ping(timeout_s=0.05)
    with pytest.raises(GuestTimeout, match="ping"):
        await process.result(timeout_s=PATIENCE_S)
    with pytest.raises(GuestTimeout):
        await client.ping()
    await asyncio.wait_for(client.wait_closed(), PATIENCE_S)


async def test_abandoned_work_must_end_in_time(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.guest.channel.ABANDON_S", 0.05)
    client, _ = await connect(silent=True)
    (await client.start(RUN)).abandon()
    await asyncio.wait_for(client.wait_closed(), PATIENCE_S)
    assert isinstance(client.failure, GuestTimeout)


async def test_cancelled_request_gives_its_channel_back(connect: Connect) -> None:
    client, agent = await connect(program=FakeProgram(delay_s=3600))
    for _ in range(3 * MAX_CHANNELS):
        process = await client.start(RUN)
        process.abandon()
        await client.ping()
    await agent.wait_idle()


async def test_channels_are_bounded(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(delay_s=3600))
    processes = [await client.start(RUN) for _ in range(MAX_CHANNELS)]
    with pytest.raises(GuestRequestFailed) as caught:
        await client.ping()
    assert caught.value.reason == "busy"
    await processes[0].kill()
    await processes[0].result(timeout_s=PATIENCE_S)
    await client.ping()


async def test_many_at_once(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=b"x" * 100_000), slow_s=0.001)

    async def one() -> int:
        outcome = await (await client.start(RUN)).collect(
            keep_stdout=None, keep_stderr=0, timeout_s=PATIENCE_S
        )
        return len(outcome.stdout)

    assert await asyncio.gather(*(one() for _ in range(60))) == [100_000] * 60


async def test_close_fails_what_waits_and_may_be_repeated(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(delay_s=3600))
    process = await client.start(RUN)
    waiting = asyncio.create_task(process.result(timeout_s=None))
    await asyncio.sleep(0)
    await asyncio.gather(client.close(), client.close())
    await client.close()
    with pytest.raises(GuestGone):
        await waiting
    with pytest.raises(GuestGone):
        await client.ping()
    assert client.closed
    assert client.failure is None


async def test_cancelled_close_still_closes() -> None:
    agent = FakeAgent(clone=True)
    client = GuestClient(*await agent.connect())
    task = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.closed
    await agent.close()


@pytest.mark.parametrize(
    "line",
    [
        b'{"name":"../x"}',
        b'{"name":"/x"}',
        b'{"name":""}',
        b'{"name":"a","name_b64":"YQ=="}',
        b'{"name":"\\udc80"}',
        b'{"name_b64":"?"}',
        b"[]",
        b'{"name":"a","type":"socket","size":0,"mode":0,"mtime_ns":0}',
        b'{"name":"a","type":"file","size":-1,"mode":0,"mtime_ns":0}',
        b'{"name":"' + b"a" * 70_000,
    ],
)
async def test_listing_that_cannot_be_ends_the_sandbox(connect: Connect, line: bytes) -> None:
    client, agent = await connect()
    agent.operations["list"] = lambda run: _lines(run, line + b"\n")
    with pytest.raises(GuestViolation):
        await client.list_dir()
    assert isinstance(client.failure, GuestViolation)


async def test_names_that_are_not_utf8(connect: Connect) -> None:
    client, agent = await connect()
    line = b'{"name_b64":"Yf8=","type":"file","size":1,"mode":420,"mtime_ns":1}\n'
    agent.operations["list"] = lambda run: _lines(run, line)
    (entry,) = await client.list_dir()
    assert entry.name == "a\udcff"


async def _lines(run: object, data: bytes) -> dict[str, object]:
    await run.write(data)  # type: ignore[attr-defined]
    return {"entries": 1, "truncated": False, "size": 100, "mode": 0}


async def test_download_that_exceeds_what_was_asked_for(connect: Connect) -> None:
    client, agent = await connect()
    agent.operations["read_file"] = lambda run: _lines(run, bytes(100))
    with pytest.raises(GuestViolation):
        await client.read_bytes("x", 50)
