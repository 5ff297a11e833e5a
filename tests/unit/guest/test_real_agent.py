"""The client against the real agent, which serves on this machine as it is: no VM, no cgroups, no root."""

from __future__ import annotations

import asyncio
import io
import os
import platform
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import emberbox
from emberbox.errors import GuestGone, GuestRequestFailed
from emberbox.guest import ExecLimits, ExecOutcome, ExecRequest, GuestClient, InlineFile
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "none")
AGENT = Path(emberbox.__file__).parent / "_builtin/agent" / f"emberbox-agent-{ARCHITECTURE}"
MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(not AGENT.exists(), reason="no agent was built: python hatch_build.py")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[GuestClient]:
    """A greeted client of an agent whose work folder is `tmp_path`/work."""
    work, path = tmp_path / "work", tmp_path / "agent.sock"
    work.mkdir()
    arrived: asyncio.Future[GuestClient] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_unix_server(lambda r, w: arrived.set_result(GuestClient(r, w)), path)
    agent = await asyncio.create_subprocess_exec(AGENT, "--socket", path, "--work", work)
    try:
        client = await asyncio.wait_for(arrived, PATIENCE_S)
        await client.hello(timeout_s=PATIENCE_S)
        yield client
        await client.close()
        await asyncio.wait_for(agent.wait(), PATIENCE_S)
    finally:
        server.close()
        if agent.returncode is None:
            agent.kill()
            await agent.wait()


def shell(script: str, *, stdin: bool = False, limits: ExecLimits | None = None) -> ExecRequest:
    return ExecRequest(argv=("/bin/sh", "-c", script), cwd=".", stdin=stdin, limits=limits or ExecLimits())


async def run(
    client: GuestClient, request: ExecRequest, stdin: bytes | None = None, keep: int | None = None
) -> ExecOutcome:
    process = await client.start(request)
    return await process.collect(stdin=stdin, keep_stdout=keep, keep_stderr=keep, timeout_s=PATIENCE_S)


async def test_who_answers(client: GuestClient) -> None:
    await client.ping()
    info = await client.info()
    assert info.kernel == platform.release()
    assert info.cpus == os.cpu_count()
    assert (await client.metrics()).memory_total > 0


async def test_hello(client: GuestClient) -> None:
    outcome = await run(client, shell("echo hello; echo oh >&2; exit 3"))
    assert (outcome.reason, outcome.exit_code, outcome.signal) == ("exited", 3, None)
    assert (outcome.stdout, outcome.stderr, outcome.stdout_bytes) == (b"hello\n", b"oh\n", 6)
    assert outcome.wall_us > 0


async def test_inline_files_environment_and_folder(client: GuestClient, tmp_path: Path) -> None:
    files = (InlineFile("sub/run.sh", b'echo "$1 $WHO"; pwd', 0o755),)
    request = ExecRequest(argv=("/bin/sh", "run.sh", "hi"), env={"WHO": "ä"}, cwd="sub", files=files)
    assert (await run(client, request)).stdout.decode() == f"hi ä\n{tmp_path}/work/sub\n"


async def test_programs_that_cannot_start(client: GuestClient) -> None:
    outcome = await run(client, ExecRequest(argv=("no-such-program",), cwd="."))
    assert (outcome.reason, outcome.exit_code, outcome.signal, outcome.errno_name) == (
        "start_failed",
        None,
        None,
        "ENOENT",
    )
    assert outcome.message


async def test_signals_and_limits(client: GuestClient) -> None:
    assert (await run(client, shell("kill -TERM $$"))).signal == 15
    assert (await run(client, shell("sleep 3600", limits=ExecLimits(wall_ms=100)))).reason == "timed_out"
    outcome = await run(client, shell("yes", limits=ExecLimits(output_max=MIB)))
    assert outcome.reason == "output_limit"


async def test_cancel_kill_and_signal(client: GuestClient) -> None:
    cancelled, killed, signalled = [await client.start(shell("echo up; sleep 3600")) for _ in range(3)]
    for process in (cancelled, killed, signalled):
        assert (await anext(process.output())).data == b"up\n"
    await cancelled.cancel()
    await killed.kill()
    await signalled.signal(10)
    assert (await cancelled.result(timeout_s=PATIENCE_S)).reason == "cancelled"
    assert (await killed.result(timeout_s=PATIENCE_S)).signal == 9
    assert (await signalled.result(timeout_s=PATIENCE_S)).signal == 10


async def test_abandoned_flood_ends(client: GuestClient) -> None:
    process = await client.start(shell("yes", limits=ExecLimits(stdout_keep=None, output_max=None)))
    assert await anext(process.output())
    process.abandon()
    await asyncio.wait_for(_ended(process), PATIENCE_S)
    await client.ping()


async def _ended(process: object) -> None:
    try:
        await process.result(timeout_s=PATIENCE_S)  # type: ignore[attr-defined]
    except GuestRequestFailed as error:
        assert error.reason == "cancelled"


async def test_big_streams_both_ways_at_once(client: GuestClient) -> None:
    data = os.urandom(MIB) * 20
    limits = ExecLimits(stdout_keep=None, output_max=None)
    outcome = await run(client, shell("cat", stdin=True, limits=limits), stdin=data)
    assert outcome.stdout == data


async def test_flood_blocks_at_its_pipe_and_holds_up_nobody(client: GuestClient) -> None:
    limits = ExecLimits(stdout_keep=None, output_max=None)
    floods = [await client.start(shell("yes", limits=limits)) for _ in range(3)]
    await asyncio.sleep(0.2)
    assert (await run(client, shell("echo through"))).stdout == b"through\n"
    for flood in floods:
        await flood.kill()
        assert (await flood.collect(keep_stdout=0, keep_stderr=0, timeout_s=PATIENCE_S)).stdout == b""


async def test_interactive(client: GuestClient) -> None:
    process = await client.start(shell('while read line; do echo "got $line"; done', stdin=True))
    output = process.output()
    for word in ("one", "two"):
        await process.write_stdin(f"{word}\n".encode())
        assert (await anext(output)).data == f"got {word}\n".encode()
    await process.close_stdin()
    assert [piece async for piece in output] == []
    assert (await process.result(timeout_s=PATIENCE_S)).exit_code == 0


async def test_many_channels(client: GuestClient) -> None:
    outcomes = await asyncio.gather(*(run(client, shell(f"echo {number}")) for number in range(60)))
    assert [outcome.stdout for outcome in outcomes] == [b"%d\n" % number for number in range(60)]


async def test_files(client: GuestClient, tmp_path: Path) -> None:
    big = os.urandom(MIB) * 20
    assert await client.write_file("a/big.bin", big, mode=0o600) == len(big)
    assert await client.read_bytes("a/big.bin", len(big)) == big
    assert (tmp_path / "work/a/big.bin").stat().st_mode & 0o777 == 0o600
    assert await client.write_file("a/log", b"one") == 3
    assert await client.write_file("a/log", b"two", append=True) == 6
    assert b"".join([data async for data in client.read_file("a/log", offset=2, limit=2)]) == b"et"
    with pytest.raises(GuestRequestFailed) as caught:
        await client.read_bytes("missing", 1)
    assert caught.value.reason == "not_found"


async def test_leaving_a_download_early(client: GuestClient) -> None:
    await client.write_file("big", bytes(5 * MIB))
    download = client.read_file("big")
    assert await anext(download)
    await download.aclose()
    await client.ping()


async def test_folders(client: GuestClient) -> None:
    await client.make_directory("d/e")
    await client.write_file("d/f.txt", b"12345")
    entries = {entry.name: entry for entry in await client.list_dir("d")}
    assert {name: entry.type for name, entry in entries.items()} == {"e": "directory", "f.txt": "file"}
    assert (await client.stat("d/f.txt")).size == entries["f.txt"].size == 5
    assert [entry.name for entry in await client.list_dir(".", recursive=True) if entry.type == "file"] == [
        "d/f.txt"
    ]
    await client.delete("d", recursive=True)
    with pytest.raises(GuestRequestFailed) as caught:
        await client.stat("d")
    assert caught.value.reason == "not_found"


async def test_names_that_are_not_utf8(client: GuestClient, tmp_path: Path) -> None:
    name = b"n\xff".decode("utf-8", "surrogateescape")
    await client.write_file(f"d/{name}", b"odd")
    assert (tmp_path / "work/d" / name).read_bytes() == b"odd"
    assert await client.read_bytes(f"d/{name}", 10) == b"odd"
    assert [entry.name for entry in await client.list_dir("d")] == [name]
    await client.delete(f"d/{name}")


async def test_tar_both_ways(client: GuestClient) -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w:gz") as archive:
        for number in range(20):
            member = tarfile.TarInfo(f"sub/{number}.txt")
            member.size = 100_000
            archive.addfile(member, io.BytesIO(b"%05d" % number * 20_000))
    assert (await client.tar_in("in", source.getvalue())).bytes == 2_000_000
    data = b"".join([piece async for piece in client.tar_out("in", patterns=("sub/1*.txt",))])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {member.name: member.size for member in archive if member.isfile()}
    assert len(files) == 11
    assert set(files.values()) == {100_000}
    with pytest.raises(GuestRequestFailed, match="more than 150000 bytes"):
        _ = [piece async for piece in client.tar_out("in", max_bytes=150_000)]


async def test_tar_that_leads_out_is_refused(client: GuestClient) -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../out.txt"))
    with pytest.raises(GuestRequestFailed) as caught:
        await client.tar_in("in", source.getvalue())
    assert caught.value.reason == "outside_folder"


async def test_agent_that_is_gone(client: GuestClient) -> None:
    process = await client.start(shell("kill -9 $PPID; sleep 60"))
    with pytest.raises(GuestGone):
        await process.result(timeout_s=PATIENCE_S)
