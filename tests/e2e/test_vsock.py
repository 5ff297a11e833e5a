"""Real jobs through the agent by vsock, as behind Firecracker.

The guest is a plain QEMU one with the vsock device of the peers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox.guest import ExecLimits, ExecRequest, GuestClient, InlineFile, WaitingRun
from emberbox.runtimes import builtin_folder, discover
from emberbox.sandbox.templates.warming import warm
from tests.e2e.vsock_guests import PORT, VsockGuest, guest
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.guest.answers import ExecOutcome
    from emberbox.images import Image, ImageStore
    from emberbox.runtimes import Runtime

MEGABYTES = os.urandom(4 * 1024 * 1024)


def python_runtime() -> Runtime:
    return next(runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")


@pytest.fixture(scope="module")
def image(images: ImageStore) -> Image:
    found = images.find(python_runtime())
    assert found is not None
    return found


@pytest_asyncio.fixture(scope="module")
async def machine(image: Image) -> AsyncIterator[VsockGuest]:
    async with guest(image) as running:
        async with running.talk() as client:
            await client.hello(timeout_s=PATIENCE_S)
        yield running


async def python(client: GuestClient, code: str, stdin: bytes | None = None) -> ExecOutcome:
    limits = ExecLimits(stdout_keep=None)
    process = await client.start(
        ExecRequest(argv=("python3", "-c", code), stdin=stdin is not None, limits=limits)
    )
    return await process.collect(stdin=stdin, keep_stdout=None, keep_stderr=None, timeout_s=PATIENCE_S)


async def waiting(client: GuestClient, code: str) -> bytes:
    """Have the interpreter that waits since before the snapshot run a program."""
    runtime = python_runtime()
    request = ExecRequest(
        argv=runtime.command("main.py"),
        env=dict(runtime.env),
        files=(InlineFile("main.py", code.encode()),),
        waiting=WaitingRun("main.py"),
    )
    outcome = await (await client.start(request)).collect(
        keep_stdout=None, keep_stderr=None, timeout_s=PATIENCE_S
    )
    assert (outcome.waiting, outcome.exit_code) == (True, 0), outcome
    return outcome.stdout


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def cpu_seconds(guest: VsockGuest) -> float:
    fields = Path(f"/proc/{guest.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_megabytes_go_in_and_come_out_unchanged(machine: VsockGuest) -> None:
    code = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    async with machine.talk() as client:
        outcome = await python(client, code, MEGABYTES)
    assert (outcome.exit_code, outcome.stderr) == (0, b"")
    assert digest(outcome.stdout) == digest(MEGABYTES)


async def test_files_go_in_and_out(machine: VsockGuest) -> None:
    async with machine.talk() as client:
        assert await client.write_file("in/data", MEGABYTES) == len(MEGABYTES)
        outcome = await python(
            client, "d = open('in/data', 'rb').read(); open('out', 'wb').write(d[::-1]); print(len(d))"
        )
        assert outcome.stdout == b"%d\n" % len(MEGABYTES)
        assert digest(await client.read_bytes("out", len(MEGABYTES))) == digest(MEGABYTES[::-1])


async def test_hosts_come_one_after_another_and_who_comes_too_early_waits(machine: VsockGuest) -> None:
    for number in range(5):
        async with machine.talk() as client:
            assert (await python(client, f"print({number})")).stdout == b"%d\n" % number
    async with machine.talk() as first:
        await first.ping()
        early = await machine.connect()
        assert early is not None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(early[0].read(1), 0.5)
        await first.ping()
    second = GuestClient(*early)
    try:
        await second.hello(timeout_s=PATIENCE_S)
        assert (await python(second, "print('next')")).stdout == b"next\n"
    finally:
        await second.close()


async def test_hosts_that_gave_up_waiting_are_passed_over(machine: VsockGuest) -> None:
    async with machine.talk() as client:
        for _ in range(5):
            streams = await machine.connect()
            assert streams is not None
            streams[1].close()
        await client.ping()
    async with machine.talk() as client:
        assert (await client.hello(timeout_s=PATIENCE_S)).protocol == 1


async def test_a_program_ends_with_the_host_that_started_it(machine: VsockGuest) -> None:
    async with machine.talk() as client:
        process = await client.start(ExecRequest(argv=("sh", "-c", "echo $$; exec sleep 1000")))
        async with asyncio.timeout(PATIENCE_S):
            pid = int((await anext(process.output())).data)
    async with machine.talk() as client:
        code = (
            "import os, time\nfor _ in range(3000):\n"
            f"    if not os.path.exists('/proc/{pid}'): print('gone'); break\n    time.sleep(0.05)"
        )
        assert (await python(client, code)).stdout == b"gone\n"


async def test_a_port_without_a_listener_is_refused(machine: VsockGuest) -> None:
    assert await machine.connect(PORT + 1) is None
    for line in (b"HELLO\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 4294967296\n", b"CONNECT " + b"1" * 100):
        reader, writer = await asyncio.open_unix_connection(machine.hosts)
        writer.write(line)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()


async def test_an_idle_guest_with_a_host_does_not_use_the_processor(machine: VsockGuest) -> None:
    async with machine.talk() as client:
        await client.ping()
        await asyncio.sleep(0.5)
        before = await cpu_seconds(machine)
        await asyncio.sleep(2)
        assert await cpu_seconds(machine) - before < 0.5


SERVER = """
import hashlib, socket
server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
server.bind((socket.VMADDR_CID_ANY, 5000))
server.listen()
print("ready", flush=True)
host, peer = server.accept()
seen = hashlib.sha256()
while data := host.recv(65536):
    seen.update(data)
host.sendall(seen.hexdigest().encode())
host.sendall(bytes(3_000_000))
host.close()
print(peer[0])
"""


async def test_a_program_in_the_guest_serves_a_host_that_ends_its_half_first(machine: VsockGuest) -> None:
    async with machine.talk() as client:
        server = await client.start(ExecRequest(argv=("python3", "-c", SERVER)))
        output = server.output()
        assert (await anext(output)).data == b"ready\n"
        streams = await machine.connect(5000)
        assert streams is not None
        reader, writer = streams
        writer.write(MEGABYTES)
        writer.write_eof()
        await asyncio.sleep(1)  # whoever does not read is waited for
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        assert (answer[:64].decode(), len(answer), any(answer[64:])) == (
            digest(MEGABYTES),
            64 + 3_000_000,
            False,
        )
        writer.close()
        assert (await anext(output)).data == b"2\n"
        assert (await server.result(timeout_s=PATIENCE_S)).exit_code == 0


CALLER = """
import hashlib, socket, sys
host = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
host.connect((socket.VMADDR_CID_HOST, 7000))
host.sendall(bytes(2_000_000))
host.shutdown(socket.SHUT_WR)
seen = hashlib.sha256()
while data := host.recv(65536):
    seen.update(data)
print(seen.hexdigest())
try:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((socket.VMADDR_CID_HOST, 7001))
except OSError as error:
    print(type(error).__name__)
"""


async def test_a_program_in_the_guest_calls_a_port_of_the_host(machine: VsockGuest) -> None:
    received: list[int] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(len(await reader.read()))
        writer.write(MEGABYTES)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, f"{machine.hosts}_7000")
    async with server, machine.talk() as client:
        outcome = await python(client, CALLER)
    assert outcome.stdout.decode().split() == [digest(MEGABYTES), "ConnectionResetError"], outcome.stderr
    assert received == [2_000_000]


async def test_clones_begin_anew_with_connections_of_their_own(image: Image, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    async with guest(image) as template, template.talk() as client:
        await client.hello(timeout_s=PATIENCE_S)
        assert await warm(client, python_runtime())
        await client.write_file("kept", MEGABYTES)
        stays = await client.start(ExecRequest(argv=("sleep", "1000")))
        early = await template.connect()
        assert early is not None
        await client.ping()
        await template.save(snapshot)
        stays.abandon()
        early[1].close()
    async with guest(image, snapshot=snapshot) as one, guest(image, snapshot=snapshot) as other:
        await asyncio.gather(one.load(snapshot), other.load(snapshot))
        for clone, name in ((one, "one"), (other, "other")):
            await _lives(clone, name)
        async with one.talk() as first, other.talk() as second:
            outcomes = await asyncio.gather(
                *(python(client, "print(open('name').read())") for client in (first, second))
            )
        assert [outcome.stdout for outcome in outcomes] == [b"one\n", b"other\n"]


async def _lives(clone: VsockGuest, name: str) -> None:
    async with clone.talk() as client:
        await client.start_resume(
            entropy=os.urandom(64), unix_ns=1_800_000_000_000_000_000, hostname=name
        ).answer(PATIENCE_S)
        assert digest(await client.read_bytes("kept", len(MEGABYTES))) == digest(MEGABYTES)
        await client.write_file("name", name.encode())
        assert await waiting(client, f"print({name!r})") == name.encode() + b"\n"
        outcome = await python(
            client, "import os, sys; print(os.uname().nodename, len(sys.stdin.read()))", b"x" * 300_000
        )
        assert outcome.stdout == f"{name} 300000\n".encode()
        processes = await python(
            client,
            "import glob; print(sum(b'sleep' in open(p, 'rb').read() "
            "for p in glob.glob('/proc/[0-9]*/cmdline')))",
        )
        assert processes.stdout == b"1\n", (
            "only the one that asks; what the cut connection had started is gone"
        )
    assert await clone.connect(PORT + 1) is None
