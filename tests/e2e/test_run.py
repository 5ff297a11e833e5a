"""Programs run in VMs of their own, and what comes back."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

import emberbox
from emberbox import Engine, Limits, RunStatus
from emberbox.errors import GuestRequestFailed, InvalidInput, SandboxClosed, UnknownRuntime
from emberbox.vmm.base import MachineState
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_program_runs_in_a_vm_of_its_own(engine: Engine) -> None:
    code = (
        "import os, platform; "
        f"print(6 * 7, os.getuid(), platform.release() != {os.uname().release!r}, os.getpid())"
    )
    result = await engine.run(code, runtime="python")
    assert (result.status, result.exit_code, result.stderr) == (RunStatus.SUCCEEDED, 0, "")
    assert result.stdout.startswith("42 1000 True ")
    assert result.metrics.source == "clone"
    assert 0 < result.metrics.run_ms < result.metrics.total_ms
    assert result.metrics.boot_ms > 0
    assert result.metrics.peak_memory_mib > 1


async def test_bash_runs(engine: Engine) -> None:
    result = await engine.run(
        'echo "$1-$K" >&2; read line; echo "got $line"; exit 3',
        ["a b"],
        runtime="sh",
        stdin=b"x\n",
        env={"K": "v"},
    )
    assert (result.status, result.exit_code, result.stdout, result.stderr) == (
        RunStatus.FAILED,
        3,
        "got x\n",
        "a b-v\n",
    )


async def test_a_program_opens_its_own_streams_by_name(engine: Engine) -> None:
    code = "cat /dev/stdin > /dev/stdout; echo error > /dev/stderr; echo -n fd > /dev/fd/1"
    result = await engine.run(code, runtime="bash", stdin=b"input\n")
    assert (result.stdout, result.stderr, result.exit_code) == ("input\nfd", "error\n", 0)


async def test_the_library_runs_without_async(
    data_folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emberbox.sandbox.sync import shared_engine

    monkeypatch.setenv("EMBERBOX_DATA", str(data_folder))
    result = await asyncio.to_thread(emberbox.run, "print(6 * 7)", runtime="python")
    assert result.stdout == "42\n"
    await asyncio.to_thread(shared_engine().close)


async def test_runs_in_one_sandbox_see_each_others_files(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox:
        first = await sandbox.run("open('f', 'w').write('kept'); import os; print(os.getcwd())")
        second = await sandbox.run("print(open('f').read())")
        assert (first.stdout, second.stdout) == ("/work\n", "kept\n")
        assert sandbox.state is MachineState.RUNNING
    with pytest.raises(SandboxClosed):
        await sandbox.run("print(1)")


async def test_files_go_in_and_out(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "host.txt").write_text("from the host")
    async with engine.sandbox("python") as sandbox:
        await sandbox.write_file("data.csv", b"1,2\n")
        result = await sandbox.run(
            "print(open('data.csv').read(), open('d/e.txt').read(), open('h.txt').read()); "
            "open('out.bin', 'wb').write(bytes(range(256)))",
            files={"d/e.txt": b"inline", "h.txt": tmp_path / "host.txt"},
        )
        assert result.stdout == "1,2\n inline from the host\n"
        assert await sandbox.read_file("out.bin") == bytes(range(256))
        names = {entry.name: entry.type for entry in await sandbox.list_files(recursive=True)}
        assert names["d/e.txt"] == "file"
        assert names["d"] == "directory"
        assert (await sandbox.stat_file("out.bin")).size == 256
        await sandbox.delete_file("d", recursive=True)
        with pytest.raises(GuestRequestFailed) as caught:
            await sandbox.read_file("d/e.txt")
        assert caught.value.reason == "not_found"


async def test_archives_go_in_and_out(engine: Engine) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("pkg/module.py")
        entry.size = 9
        archive.addfile(entry, io.BytesIO(b"VALUE = 5"))
    async with engine.sandbox("python") as sandbox:
        assert await sandbox.put_archive(packed.getvalue()) >= 1
        assert (
            await sandbox.run("import pkg.module as m; print(m.VALUE); open('pkg/out.txt', 'w').write('o')")
        ).stdout == "5\n"
        pieces = [piece async for piece in sandbox.get_archive("pkg", patterns=["*.txt"])]
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
            assert [name.rpartition("/")[2] for name in archive.getnames() if name.endswith("txt")] == [
                "out.txt"
            ]


async def test_a_process_is_followed_while_it_runs(engine: Engine) -> None:
    script = "read a; echo got $a; read b; echo got $b >&2"
    async with (
        engine.sandbox("bash") as sandbox,
        sandbox.start(["bash", "-c", script], stdin=True) as process,
    ):
        await process.write_stdin(b"one\n")
        seen = []
        async for piece in process.output():
            seen.append((piece.stream, piece.data))
            if piece.data == b"got one\n":
                await process.write_stdin(b"two\n")
        result = await process.result()
    assert seen == [("stdout", b"got one\n"), ("stderr", b"got two\n")]
    assert result.ok


async def test_a_signal_reaches_the_program(engine: Engine) -> None:
    async with (
        engine.sandbox("bash") as sandbox,
        sandbox.start(
            ["bash", "-c", "trap 'echo bye; exit 4' TERM; echo up; while :; do sleep .05; done"]
        ) as process,
    ):
        async for piece in process.output():
            if piece.data == b"up\n":
                await process.signal(15)
        result = await process.result()
    assert (result.exit_code, result.signal) == (4, None)


async def test_leaving_early_ends_the_program_and_not_the_sandbox(engine: Engine) -> None:
    async with engine.sandbox("bash") as sandbox:
        async with sandbox.start(["sleep", "1000"]):
            pass
        async with asyncio.timeout(PATIENCE_S):
            while (await sandbox.command(["pgrep", "-x", "sleep"])).stdout != "":  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_many_processes_at_once_in_one_sandbox(engine: Engine) -> None:
    async with engine.sandbox("bash") as sandbox:
        results = await asyncio.gather(*(sandbox.command(["echo", str(number)]) for number in range(20)))
    assert [result.stdout for result in results] == [f"{number}\n" for number in range(20)]


async def test_root_in_the_guest_and_another_user(engine: Engine) -> None:
    async with engine.sandbox("bash") as sandbox:
        assert (await sandbox.command(["id", "-u"], user="root")).stdout == "0\n"
        assert (await sandbox.command(["id", "-u"], user="33:33")).stdout == "33\n"
        assert (await sandbox.command(["id", "-u"])).stdout == "1000\n"


async def test_guest_metrics(engine: Engine) -> None:
    async with engine.sandbox("python", memory_mib=256) as sandbox:
        metrics = await sandbox.metrics()
    assert 150 < metrics.memory_total / 2**20 < 256
    assert 0 < metrics.memory_available < metrics.memory_total
    assert metrics.processes > 1


async def test_sizes_are_kept(engine: Engine) -> None:
    code = (
        "import os; print(os.cpu_count(), os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') // 2**20)"
    )
    result = await engine.run(code, runtime="python", vcpus=2, memory_mib=384)
    cpus, memory = map(int, result.stdout.split())
    assert cpus == 2
    assert 280 < memory < 384


async def test_large_files_stream_both_ways(engine: Engine) -> None:
    data = os.urandom(24 * 2**20)
    async with engine.sandbox("python", memory_mib=384) as sandbox:
        await sandbox.write_file("large", data)
        digest = hashlib.sha256()
        async for piece in sandbox.stream_file("large"):
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(data).digest()


async def test_there_is_no_network(engine: Engine) -> None:
    code = (
        "import socket, os\nprint(sorted(os.listdir('/sys/class/net')))\n"
        "try: socket.create_connection(('192.0.2.1', 80), 2)\nexcept OSError as e: print(e.strerror)\n"
        "try: socket.getaddrinfo('example.com', 80)\nexcept OSError as e: print('no name')"
    )
    result = await engine.run(code, runtime="python")
    assert result.stdout == "['lo']\nNetwork is unreachable\nno name\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_mib": 1}, "memory_mib must be 96"),
        ({"vcpus": 0}, "vcpus must be 1"),
        ({"disk_mib": 10**6}, "disk_mib must be 1"),
        ({"limits": None, "timeout_s": -1.0}, "timeout_s must be above 0"),
        ({"files": {"../x": b""}}, "cannot name a file"),
        ({"files": {"a\0b": b""}}, "cannot name a file"),
        ({"env": {"A=B": "c"}}, "environment variable"),
    ],
)
async def test_bad_input_is_told(engine: Engine, options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        await engine.run("print(1)", runtime="python", **options)  # type: ignore[arg-type]


async def test_an_unknown_runtime_is_told(engine: Engine) -> None:
    with pytest.raises(UnknownRuntime, match=r"(?s)pyton.*python"):
        await engine.run("print(1)", runtime="pyton")


async def test_limits_check_themselves() -> None:
    with pytest.raises(InvalidInput, match="pids"):
        Limits(pids=0)
