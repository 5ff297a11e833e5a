"""The service's process, its connections, and /proc: with programs that only seem to be a service."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from emberbox.bench.processes import cpu_ms, memory_of, rss_mib, watching_rss
from emberbox.bench.samplers.base import BenchError, together
from emberbox.bench.service import server as server_module
from emberbox.bench.service.connection import connect
from emberbox.bench.service.server import serving
from emberbox.config import Settings, VmmSettings
from tests.patience import PATIENCE_S

READY = """
import json, os, pathlib, signal, sys, time
data = pathlib.Path(sys.argv[sys.argv.index("--data") + 1])
(data / "admin.key").write_text("ember_secret\\n")
(data / "environment.json").write_text(json.dumps(dict(os.environ)))
BEFORE
(data / "service.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "pid": os.getpid()}))
time.sleep(3600)
"""


def pretend(monkeypatch: pytest.MonkeyPatch, before: str = "") -> None:
    monkeypatch.setattr(
        server_module, "command_line", lambda: [sys.executable, "-c", READY.replace("BEFORE", before)]
    )


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def test_a_service_is_started_on_its_own_data_and_nothing_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch)
    monkeypatch.setenv("EMBERBOX_SERVER_PORT", "1")
    async with serving(Settings(data=tmp_path, vmm=VmmSettings(accelerator="tcg")), pool_maximum=1) as server:
        assert (server.url, server.secret) == ("http://127.0.0.1:1", "ember_secret")
        assert server.ready_ms > 0
        assert (server.data / "images").resolve() == tmp_path / "images"
        environment = (server.data / "environment.json").read_text()
        assert '"EMBERBOX_VMM_ACCELERATOR": "tcg"' in environment
        assert '"EMBERBOX_POOL_MAXIMUM": "1"' in environment
        assert "EMBERBOX_SERVER_PORT" not in environment
        with pytest.raises(BenchError, match="cannot be read"):
            server.rows("SELECT 1 FROM jobs")
    assert not alive(server.pid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "templates", "vmm"]


async def test_a_service_that_does_not_start_is_told_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretend(monkeypatch, "sys.exit('no such thing')")
    with pytest.raises(BenchError, match="no such thing"):
        async with serving(Settings(data=tmp_path)):
            pytest.fail("it did not start")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "templates", "vmm"]


async def test_a_service_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pretend(monkeypatch, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    monkeypatch.setattr(server_module, "STOP_S", 0.2)
    with pytest.raises(ZeroDivisionError):
        async with serving(Settings(data=tmp_path)) as server:
            raise ZeroDivisionError
    assert not alive(server.pid)


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


KILLED = """
import asyncio, pathlib, sys
from emberbox.bench.service import server
from emberbox.config import Settings
server.command_line = lambda: [sys.executable, "-c", sys.argv[2]]
async def main():
    async with server.serving(Settings(data=pathlib.Path(sys.argv[1]))) as running:
        print(running.pid, flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="nothing here ties a process to its parent")
async def test_a_benchmark_that_is_killed_leaves_no_service(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), READY.replace("BEFORE", "")]
    benchmark = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    assert benchmark.stdout is not None
    pid = int(await asyncio.wait_for(benchmark.stdout.readline(), PATIENCE_S))
    assert alive(pid)
    benchmark.kill()
    await benchmark.wait()
    await asyncio.to_thread(wait_for_end, pid)
    assert not alive(pid)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer requests on one connection: by their path."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if head.startswith(b"GET /chunks "):
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two"):
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0.01)
            writer.write(b"0\r\n\r\n")
        elif head.startswith(b"GET /gone "):
            break
        elif not head.startswith(b"GET /silent "):
            assert b"Authorization: Bearer secret\r\n" in head
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    writer.close()


async def test_a_connection_is_kept_and_takes_answers_of_all_kinds() -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        connection = await connect(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "secret")
        for number in range(3):
            assert await connection.expect(201, "POST", "/echo", {"number": number}) == {"number": number}
        pieces: list[bytes] = []
        assert (await connection.follow("/chunks", pieces.append, timeout_s=10)).status == 200
        assert pieces == [b"one", b"two"]
        with pytest.raises(BenchError, match="201 instead of 202"):
            await connection.expect(202, "POST", "/echo", {})
        with pytest.raises(BenchError, match="closed the connection"):
            await connection.request("GET", "/gone")
        with pytest.raises(BenchError, match="closed the connection"):
            await connection.request("GET", "/echo")
        connection.close()


async def test_what_does_not_answer_is_not_waited_for_forever() -> None:
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        connection = await connect(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", "secret")
        with pytest.raises(BenchError, match=r"within 0\.05 s"):
            await connection.follow("/silent", print, timeout_s=0.05)
        connection.close()
    with pytest.raises(BenchError, match="cannot be reached"):
        await connect("http://127.0.0.1:1", "secret")


async def test_a_process_is_looked_at_from_outside() -> None:
    used = cpu_ms(os.getpid())
    until = time.thread_time() + 0.05
    while time.thread_time() < until:
        pass
    assert 40 <= cpu_ms(os.getpid()) - used < 10_000
    memory = memory_of(os.getpid())
    assert 5 < memory.pss <= memory.rss
    assert rss_mib(os.getpid()) == pytest.approx(memory.rss, rel=0.2)
    async with watching_rss(os.getpid(), 0.01) as samples:
        async with asyncio.timeout(PATIENCE_S):
            while len(samples) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_a_process_that_has_ended_fails_the_measurement_alone() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(3600)")
    async with watching_rss(process.pid, 0.01) as samples:
        async with asyncio.timeout(PATIENCE_S):
            while not samples:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.kill()
        await process.wait()
        await asyncio.sleep(0.05)
    for look in (cpu_ms, memory_of, rss_mib):
        with pytest.raises(BenchError, match="has it ended"):
            look(process.pid)


async def test_the_first_of_many_failures_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise BenchError("this one")

    async def wait() -> None:
        await asyncio.sleep(3600)

    with pytest.raises(BenchError, match="this one"):
        await together([wait(), fail(), wait()])
