from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any

import h11
import pytest
import pytest_asyncio

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.vmm.firecracker.requests.answers import BalloonStatistics
from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from emberbox.vmm.firecracker.requests.faults import LONGEST_FAULT, FirecrackerFault
from emberbox.vmm.firecracker.requests.paced import PIECE_BYTES
from emberbox.vmm.firecracker.requests.request import Request
from emberbox.vmm.firecracker.requests.wire import CONNECTIONS, LARGEST_ANSWER
from emberbox.vmm.process import sockets
from tests.patience import PATIENCE_S
from tests.unit.vmm.firecracker.requests.server import NO_CONTENT, Asked, answer, fault, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

INSTANCE = {"id": "m1", "state": "Not started", "vmm_version": "1.16.1", "app_name": "Firecracker"}
PAUSE = Request("PATCH", "/vm", {"state": "Paused"})
CREATE = Request("PUT", "/snapshot/create", {"snapshot_path": "/s", "mem_file_path": "/m"})
LOAD = Request(
    "PUT",
    "/snapshot/load",
    {
        "snapshot_path": "/s",
        "mem_backend": {"backend_path": "/m", "backend_type": "File"},
        "vsock_override": {"uds_path": "/v"},
        "clock_realtime": True,
        "huge_pages": "None",
    },
    optional=("clock_realtime", "huge_pages"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


@pytest_asyncio.fixture
async def api(path: Path) -> AsyncIterator[FirecrackerApi]:
    client = FirecrackerApi(path, name="m1")
    yield client
    await client.close()


async def _silent(asked: Asked) -> bytes:
    await asyncio.sleep(3600)
    return NO_CONTENT


async def test_a_request_as_firecracker_sees_it(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, [NO_CONTENT, answer(200, INSTANCE)]) as server:
        await api.send(PAUSE)
        await api.state()
    first, second = server.asked
    assert (first.method, first.path, first.body) == ("PATCH", "/vm", {"state": "Paused"})
    assert first.headers["content-type"] == first.headers["accept"] == "application/json"
    assert "transfer-encoding" not in first.headers
    assert (second.method, second.path, second.body) == ("GET", "/", None)
    assert server.taken == 1


async def test_the_answers_to_all_questions(path: Path, api: FirecrackerApi) -> None:
    told: dict[str, Any] = {
        "/": INSTANCE,
        "/balloon/statistics": {
            "target_pages": 1,
            "actual_pages": 2,
            "target_mib": 3,
            "actual_mib": 4,
            "free_memory": 5,
        },
    }

    async def reply(asked: Asked) -> bytes:
        return answer(200, told[asked.path])

    async with serving(path, reply):
        assert await api.state() == "Not started"
        statistics = await api.balloon_statistics()
        assert statistics == BalloonStatistics(actual_mib=4, free_memory=5)


async def test_a_fault_is_told_and_the_next_request_goes_on(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, [fault("The microVM is\x1b[31m not\nrunning."), NO_CONTENT]) as server:
        with pytest.raises(FirecrackerFault, match="refused PATCH /vm: The microVM is") as caught:
            await api.send(PAUSE)
        await api.send(PAUSE)
    assert (caught.value.request, caught.value.http_status) == ("PATCH /vm", 400)
    assert caught.value.fault_message.isprintable()
    assert caught.value.code == "vmm_refused"
    assert server.taken == 1


@pytest.mark.parametrize(
    "body", [{"fault_message": "The MMDS patch does not fit."}, {"error": "Request payload is too large"}]
)
@pytest.mark.parametrize("status", [400, 413])
async def test_what_is_too_large_is_a_fault_too(
    path: Path, api: FirecrackerApi, status: int, body: dict[str, str]
) -> None:
    async with serving(path, answer(status, body)):
        with pytest.raises(FirecrackerFault, match="51,200 bytes") as caught:
            await api.send(PAUSE)
    assert caught.value.http_status == status


async def test_a_line_break_in_its_words_is_read_as_firecracker_sends_it(
    path: Path, api: FirecrackerApi
) -> None:
    said = (
        b'{ "error": "Request payload is larger than the limit.\n'
        b'All previous unanswered requests will be dropped." }'
    )
    head = (
        b"HTTP/1.1 400\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(said)
    )
    async with serving(path, [head + said]):
        with pytest.raises(FirecrackerFault, match="51,200 bytes") as caught:
            await api.send(PAUSE)
    assert caught.value.fault_message.isprintable()


async def test_connections_that_are_used_up_are_told(path: Path, api: FirecrackerApi) -> None:
    head = b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n"
    full = head + b'{ "error": "Too many open connections" }'
    async with serving(path, [full, NO_CONTENT]):
        with pytest.raises(VmmError, match="no connection left"):
            await api.send(PAUSE)
        await api.send(PAUSE)


async def test_a_long_fault_is_cut(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, fault("é" * 5_000)):
        with pytest.raises(FirecrackerFault) as caught:
            await api.send(PAUSE)
    assert len(caught.value.fault_message) == LONGEST_FAULT


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (answer(200, b"<html>"), "not JSON"),
        (answer(400, b"nothing"), "not JSON"),
        (answer(200, b"[" * 60_000), "not JSON"),
        (answer(200, b"9" * 9000), "not JSON"),
        (answer(200, b"\xff\xfe"), "not JSON"),
        (answer(400, {"fault": "x"}), "none of its own"),
        (answer(400, {"fault_message": 7}), "none of its own"),
        (answer(400, []), "none of its own"),
        (answer(500, {"fault_message": "x"}), "status 500"),
        (answer(302, {}, more="Location: http://localhost/version\r\n"), "status 302"),
        (answer(200, b" " * (LARGEST_ANSWER + 1)), "larger than"),
        (answer(200, b"x", more="Content-Encoding: gzip\r\n"), "not JSON"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP"),
        (b"\0" * 200_000, "not HTTP"),
        (b"HTTP/1.1 200 \r\nContent-Length: nine\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
    ],
)
async def test_what_is_no_answer_of_firecracker(
    path: Path, api: FirecrackerApi, told: bytes, says: str
) -> None:
    async with serving(path, [told, NO_CONTENT]):
        with pytest.raises(VmmError, match=says) as caught:
            await api.send(PAUSE)
        assert type(caught.value) is VmmError
        assert (caught.value.detail or "").isprintable()
        await api.send(PAUSE)


async def test_an_endless_answer_is_cut_off(path: Path, api: FirecrackerApi) -> None:
    endless = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n" + b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with serving(path, endless + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 64):
        with pytest.raises(VmmError, match="larger than"):
            await api.send(PAUSE)


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 \r\n\r\n", b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"]
)
async def test_an_answer_in_crumbs_leaves_others_their_turns(
    path: Path, api: FirecrackerApi, endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, since_others = 0, 0
    receive = h11.Connection.receive_data

    def counting(connection: h11.Connection, data: bytes) -> None:
        nonlocal read, since_others
        read, since_others = read + len(data), since_others + len(data)
        receive(connection, data)

    monkeypatch.setattr(h11.Connection, "receive_data", counting)
    crumbs = endless + (b"1\r\nx\r\n" if b"chunked" in endless else endless) * 100_000
    most = 0
    async with serving(path, crumbs):
        asking = asyncio.create_task(api.send(PAUSE))
        while not asking.done():
            most, since_others = max(most, since_others), 0
            await asyncio.sleep(0)
        with pytest.raises(VmmError, match=r"not HTTP|larger than"):
            await asking
    assert 0 < most <= 2 * PIECE_BYTES
    assert read <= 2 * LARGEST_ANSWER


async def test_a_chunked_answer_is_read(path: Path, api: FirecrackerApi) -> None:
    chunked = (
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"id": "\r\n35\r\nm1", "state": "Not started", "vmm_version": "1.16.1"}\r\n0\r\n\r\n'
    )
    async with serving(path, chunked):
        assert await api.state() == "Not started"


@pytest.mark.parametrize(
    "told",
    [
        None,
        b"HTTP/1.1 20",
        b"HTTP/1.1 200 \r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_an_end_in_the_middle_is_the_end_of_the_process(
    path: Path, api: FirecrackerApi, told: bytes | None
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told or b"")
        writer.close()

    listening = await asyncio.start_unix_server(serve, path)
    with pytest.raises(VmmDied, match="m1"):
        await api.send(PAUSE)
    listening.close()


async def test_nobody_there(path: Path, api: FirecrackerApi) -> None:
    with pytest.raises(VmmDied, match="not there"):
        await api.send(PAUSE)
    sockets.listen(path).close()
    with pytest.raises(VmmDied, match="gone"):
        await api.send(PAUSE)


async def test_silence_has_a_bound_that_names_the_request(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, _silent):
        with pytest.raises(VmmTimeout, match=r"PUT /snapshot/load within 0\.05 s"):
            await api.send(LOAD, timeout_s=0.05)


async def test_an_answer_that_drips_has_the_same_bound(path: Path, api: FirecrackerApi) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 \r\nContent-Length: 1000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    listening = await asyncio.start_unix_server(drip, path)
    with pytest.raises(VmmTimeout):
        await api.send(PAUSE, timeout_s=0.1)
    listening.close()


async def test_each_kind_of_request_has_its_own_bound(
    path: Path, api: FirecrackerApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds: list[float] = []
    real = asyncio.timeout

    def noted(delay: float) -> asyncio.Timeout:
        bounds.append(delay)
        return real(delay)

    monkeypatch.setattr("emberbox.vmm.firecracker.requests.api.asyncio.timeout", noted)
    async with serving(path, NO_CONTENT):
        await api.send(CREATE)
        await api.send(LOAD)
        await api.send(PAUSE)
        await api.send(PAUSE, timeout_s=3)
    assert bounds == [600, 120, 10, 3]


async def test_a_short_bound_begins_when_its_turn_has_come(
    path: Path, api: FirecrackerApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[object] = []
    real = asyncio.timeout

    def noted(delay: float) -> asyncio.Timeout:
        happened.append(delay)
        return real(PATIENCE_S)

    async def slow_snapshot(asked: Asked) -> bytes:
        await asyncio.sleep(0.4 if asked.path == "/snapshot/create" else 0)
        happened.append(asked.path)
        return NO_CONTENT

    monkeypatch.setattr("emberbox.vmm.firecracker.requests.api.asyncio.timeout", noted)
    async with serving(path, slow_snapshot):
        long = asyncio.create_task(api.send(CREATE))
        await asyncio.sleep(0.05)
        await api.send(PAUSE, timeout_s=0.2)
        await long
    assert happened == [600, "/snapshot/create", 0.2, "/vm"]


async def test_a_hundred_at_once_take_few_connections(path: Path, api: FirecrackerApi) -> None:
    async def reply(asked: Asked) -> bytes:
        await asyncio.sleep(0.001)
        return NO_CONTENT

    async with serving(path, reply) as server:
        await asyncio.gather(*(api.send(PAUSE) for _ in range(100)))
    assert len(server.asked) == 100
    assert server.most_under_way == 1
    assert server.most_connections <= CONNECTIONS


async def test_those_that_are_given_up_leave_no_connection_behind(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, _silent) as server:
        for _ in range(12):
            with pytest.raises(VmmTimeout):
                await api.send(PAUSE, timeout_s=0.03)
    assert server.asked
    assert api._client is not None
    assert not api._client._transport._pool.connections  # type: ignore[attr-defined]


async def test_a_cancelled_request_lets_the_next_one_through(path: Path, api: FirecrackerApi) -> None:
    async def reply(asked: Asked) -> bytes:
        await asyncio.sleep(3600 if asked.path == "/snapshot/load" else 0)
        return NO_CONTENT

    async with serving(path, reply) as server:
        stuck = asyncio.create_task(api.send(LOAD))
        waiting = asyncio.create_task(api.send(PAUSE))
        async with asyncio.timeout(PATIENCE_S):
            await server.arrived.acquire()
        stuck.cancel()
        await waiting
        with pytest.raises(asyncio.CancelledError):
            await stuck


async def test_a_connection_that_firecracker_let_go_is_made_anew(path: Path, api: FirecrackerApi) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b'\r\n\r\n{"state":"Paused"}')
        writer.write(NO_CONTENT)
        writer.close()

    listening = await asyncio.start_unix_server(once, path)
    for _ in range(3):
        await api.send(PAUSE)
        await asyncio.sleep(0.02)
    listening.close()


def _knows_not(*names: str) -> Any:
    async def reply(asked: Asked) -> bytes:
        text = str(asked.body)
        wrong = [name for name in names if repr(name) in text]
        return (
            fault(f"cannot read the body: unknown field `{wrong[0]}`, expected one of `a`, `b` at line 1")
            if wrong
            else NO_CONTENT
        )

    return reply


async def test_a_field_that_an_old_release_does_not_know_is_left_out(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, _knows_not("clock_realtime", "huge_pages")) as server:
        await api.send(LOAD)
        assert len(server.asked) == 3
        assert api.unknown == {"/snapshot/load: clock_realtime", "/snapshot/load: huge_pages"}
        assert server.asked[-1].body.keys() == {"snapshot_path", "mem_backend", "vsock_override"}
        again = FirecrackerApi(path, name="m2", unknown=api.unknown)
        await again.send(LOAD)
        await again.close()
    assert len(server.asked) == 4


async def test_a_field_that_is_needed_is_not_left_out(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, _knows_not("vsock_override")) as server:
        with pytest.raises(FirecrackerFault, match="too old"):
            await api.send(LOAD)
    assert len(server.asked) == 1
    assert api.unknown == set()


async def test_a_refusal_of_what_is_not_sent_does_not_go_on_for_ever(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, fault("unknown field `clock_realtime`, expected nothing")) as server:
        with pytest.raises(FirecrackerFault):
            await api.send(LOAD)
    assert len(server.asked) == 2


async def test_ready_when_somebody_listens(path: Path, api: FirecrackerApi) -> None:
    waiting = asyncio.create_task(api.ready(PATIENCE_S, lambda: True))
    await asyncio.sleep(0.02)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    bound.close()
    path.unlink()
    async with serving(path, NO_CONTENT):
        await waiting
        await api.send(PAUSE)


async def test_ready_ends_with_the_process(path: Path, api: FirecrackerApi) -> None:
    ends = iter([True, True, False])
    with pytest.raises(VmmDied, match="before it took requests"):
        await api.ready(5, lambda: next(ends))


async def test_ready_has_a_bound(path: Path, api: FirecrackerApi) -> None:
    with pytest.raises(VmmTimeout, match=r"0\.03 s"):
        await api.ready(0.03, lambda: True)


@pytest.mark.parametrize("kind", ["link", "file", "folder"])
async def test_what_is_no_socket_is_not_touched(
    path: Path, api: FirecrackerApi, kind: str, tmp_path: Path
) -> None:
    async with serving(tmp_path / "other.sock", NO_CONTENT) as server:
        if kind == "link":
            path.symlink_to(tmp_path / "other.sock")
        elif kind == "file":
            path.write_bytes(b"")
        else:
            path.mkdir()
        with pytest.raises(VmmError, match="no socket") as caught:
            await api.ready(5, lambda: True)
        with pytest.raises(VmmError, match="no socket"):
            await api.send(PAUSE)
    assert type(caught.value) is VmmError
    assert server.taken == 0


async def test_a_socket_put_in_its_place_later_is_not_used(
    path: Path, api: FirecrackerApi, tmp_path: Path
) -> None:
    async with serving(path, NO_CONTENT) as own, serving(tmp_path / "evil.sock", NO_CONTENT) as evil:
        await api.ready(5, lambda: True)
        path.unlink()
        path.symlink_to(tmp_path / "evil.sock")
        await api.send(PAUSE)
    assert (len(own.asked), evil.taken) == (1, 0)


async def test_a_path_of_any_length(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 60] * 4)
    deep.mkdir(parents=True)
    listening = sockets.listen(deep / "api.sock")
    client = FirecrackerApi(deep / "api.sock", name="m1")
    await client.ready(PATIENCE_S, lambda: True)
    await client.close()
    listening.close()


async def test_proxies_of_the_environment_are_not_asked(
    path: Path, api: FirecrackerApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with serving(path, NO_CONTENT):
        await api.send(PAUSE)


async def test_closed_is_closed_and_leaves_no_descriptor(path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    async with serving(path, NO_CONTENT):
        client = FirecrackerApi(path, name="m1")
        await client.ready(PATIENCE_S, lambda: True)
        await client.send(PAUSE)
        await client.close()
        await client.close()
        with pytest.raises(VmmError, match="closed"):
            await client.send(PAUSE)
        with pytest.raises(VmmError, match="closed"):
            await client.ready(5, lambda: True)
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_closing_ends_a_request_under_way(path: Path, api: FirecrackerApi) -> None:
    async with serving(path, _silent) as server:
        stuck = asyncio.create_task(api.send(PAUSE))
        async with asyncio.timeout(PATIENCE_S):
            await server.arrived.acquire()
        await api.close()
        with pytest.raises(VmmError):
            async with asyncio.timeout(PATIENCE_S):
                await stuck
