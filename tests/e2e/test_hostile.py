"""Programs that mean harm or go wrong: the right status, a clear message, nothing left behind.

The next run works.
"""

from __future__ import annotations

import asyncio
import io
import os
import signal
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Limits, RunResult, RunStatus
from emberbox.errors import GuestRequestFailed, InvalidInput
from emberbox.vmm.base import MachineState
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

LIMITS_S = (1.5, 6.0, 24.0, 96.0)
"""Limits that a program is meant to run into, tried one after another.

A guest on a busy host takes long to reach a line.
"""


async def _next_run_works(engine: Engine) -> None:
    assert (await engine.run("print('fine')", runtime="python")).stdout == "fine\n"


async def test_a_syntax_error(engine: Engine) -> None:
    result = await engine.run("print(", runtime="python")
    assert (result.status, result.exit_code) == (RunStatus.FAILED, 1)
    assert "SyntaxError" in result.stderr
    assert 'File "/work/main.py", line 1' in result.stderr


async def test_huge_output_is_kept_counted_and_flagged(engine: Engine) -> None:
    result = await engine.run("print('x' * (5 * 2**20)); import sys; sys.stderr.write('e')", runtime="python")
    assert (result.status, len(result.stdout_data), result.stdout_bytes) == (
        RunStatus.SUCCEEDED,
        2**20,
        5 * 2**20 + 1,
    )
    assert (result.stdout_truncated, result.stderr_truncated, result.stderr) == (True, False, "e")


async def test_endless_output_ends_the_run(engine: Engine) -> None:
    code = "while True: print('y' * 100000)"
    result = await engine.run(
        code, runtime="python", limits=Limits(output_bytes=4 * 2**20, timeout_s=PATIENCE_S)
    )
    assert result.status is RunStatus.OUTPUT_LIMIT
    assert result.message == f"killed for writing more than {4 * 2**20} bytes"
    assert len(result.stdout_data) == 2**20
    await _next_run_works(engine)


async def test_an_endless_loop_times_out(engine: Engine) -> None:
    for limit_s in LIMITS_S:
        began = time.monotonic()
        result = await engine.run(
            "print('before', flush=True)\nwhile True: pass", runtime="python", timeout_s=limit_s
        )
        assert result.status is RunStatus.TIMED_OUT
        assert result.message == f"killed after {limit_s:g} s, its limit of wall-clock time"
        assert time.monotonic() - began > limit_s - 0.1
        if result.stdout:
            break
    assert result.stdout == "before\n"


async def test_cpu_time_has_a_limit(engine: Engine) -> None:
    code = "import time; time.sleep(.2)\nwhile True: pass"
    result = await engine.run(code, runtime="python", limits=Limits(cpu_s=0.7, timeout_s=PATIENCE_S))
    assert result.status is RunStatus.CPU_LIMIT
    assert result.message == "killed after 0.7 s of CPU time, its limit"


async def test_a_fork_bomb_is_held_and_dies_with_its_run(engine: Engine) -> None:
    async with engine.sandbox("bash", limits=Limits(timeout_s=PATIENCE_S, pids=64)) as sandbox:
        result = await sandbox.run("bomb() { bomb | bomb & }; bomb; sleep 1000", timeout_s=4)
        assert result.status in {RunStatus.TIMED_OUT, RunStatus.FAILED}
        assert (await sandbox.command(["echo", "still here"])).stdout == "still here\n"
        assert (await sandbox.metrics()).processes < 120


async def test_forking_python_is_refused_in_its_own_words(engine: Engine) -> None:
    code = (
        "import os\ntry:\n    while os.fork() or True: pass\n"
        "except OSError as e: print(type(e).__name__, flush=True); os._exit(0)"
    )
    result = await engine.run(code, runtime="python", limits=Limits(pids=20, timeout_s=PATIENCE_S))
    assert "BlockingIOError" in result.stdout


BOMBS = {
    "large pieces": "a = []\nwhile True: a.append(bytearray(2**20))",
    # Memory that fills slowly: the kernel finds pages of files to take away for a long time before
    # it calls this out of memory.
    "small pieces": "a = []\nwhile True: a.append(str(len(a)) * 10)",
    # Page tables, which are charged to nobody, fill the memory as well.
    "address space": "a = []\nwhile True: a.append(bytes(2**20))",
    "many programs": "import decimal, json, sqlite3\na = []\n"
    "while True:\n    a.append(bytearray(2**17)); json.dumps(a[:0])\n"
    "    decimal.Decimal(3).sqrt(); sqlite3.connect(':memory:').execute('select 1').fetchall()",
}


@pytest.mark.parametrize("limit", [None, 64])
@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_memory_bomb_is_told(engine: Engine, limit: int | None, bomb: str) -> None:
    async with engine.sandbox("python", limits=Limits(memory_mib=limit, timeout_s=PATIENCE_S)) as sandbox:
        result = await sandbox.run(BOMBS[bomb])
        assert result.status is RunStatus.OUT_OF_MEMORY
        assert result.message is not None
        assert "memory" in result.message
        assert (await sandbox.run("print('again')")).stdout == "again\n"


async def test_a_clone_may_fill_its_memory(engine: Engine) -> None:
    # The host counts a page that the template left empty twice, and may not take the VM for it.
    result = await engine.run(
        "x = bytearray(b'x') * (380 << 20); print(len(x) >> 20)", runtime="python", memory_mib=512
    )
    assert (result.status, result.stdout) == (RunStatus.SUCCEEDED, "380\n"), result.message


async def test_ignoring_sigterm_helps_nobody(engine: Engine) -> None:
    code = (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\nwhile True: pass"
    )
    result = await engine.run(code, runtime="python", timeout_s=2)
    assert result.status is RunStatus.TIMED_OUT


async def test_closing_its_output_is_no_end(engine: Engine) -> None:
    code = (
        "import os, time; os.write(1, b'a'); os.close(1); os.close(2); os.close(0); "
        "time.sleep(.5); os._exit(5)"
    )
    result = await engine.run(code, runtime="python", stdin=b"x" * 100_000)
    assert (result.status, result.exit_code, result.stdout) == (RunStatus.FAILED, 5, "a")
    assert result.metrics.run_ms > 450


async def test_a_daemon_ends_with_its_run(engine: Engine) -> None:
    code = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        print('daemon', flush=True); time.sleep(1000)\n    os._exit(0)\n"
        "os.wait(); time.sleep(.2); print('parent')"
    )
    async with engine.sandbox("python") as sandbox:
        result = await sandbox.run(code)
        assert (result.status, sorted(result.stdout.split())) == (RunStatus.SUCCEEDED, ["daemon", "parent"])
        left = await sandbox.command(
            [
                "python3",
                "-c",
                # In two pieces, so that this command does not find itself.
                "import os; print(sum(b'main' b'.py' in open(f'/proc/{p}/cmdline', 'rb').read() "
                "for p in os.listdir('/proc') if p.isdecimal()))",
            ]
        )
        assert left.stdout == "0\n"


async def test_filling_the_disk_is_the_programs_own_trouble(engine: Engine) -> None:
    code = (
        "f = open('big', 'wb')\ntry:\n    while True: f.write(bytes(2**20)); f.flush()\n"
        "except OSError as e: print(e.strerror)\n"
        "import os; print(os.path.getsize('big') // 2**20)"
    )
    async with engine.sandbox("python", disk_mib=32) as sandbox:
        result = await sandbox.run(code)
        reason, size = result.stdout.splitlines()
        assert reason == "No space left on device"
        assert 16 <= int(size) <= 32
        with pytest.raises(GuestRequestFailed) as caught:
            await sandbox.write_file("more", bytes(2 * 2**20))
        assert caught.value.reason == "no_space"
        await sandbox.delete_file("big")
        assert (await sandbox.run("print('again')")).stdout == "again\n"


async def test_the_agent_cannot_be_killed_from_inside(engine: Engine) -> None:
    async with engine.sandbox("bash") as sandbox:
        assert (await sandbox.command(["bash", "-c", "kill -9 1; kill -9 -1; echo no"])).status in {
            RunStatus.FAILED,
            RunStatus.SUCCEEDED,
        }
        as_root = await sandbox.command(
            ["bash", "-c", "kill -9 1; kill -15 1; kill -11 1; echo tried"], user="root"
        )
        assert as_root.stdout == "tried\n"
        assert (await sandbox.command(["echo", "alive"])).stdout == "alive\n"


async def test_killing_everything_takes_the_waiting_interpreter_and_nothing_else(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox:
        await sandbox.run("import os; os.kill(-1, 9)")
        result = await sandbox.run("import sys; print(sys.argv, __name__)", ["a"])
        assert result.stdout == "['main.py', 'a'] __main__\n"


@pytest.mark.parametrize("way", ["reboot", "crash"])
async def test_a_guest_that_ends_itself_is_told(engine: Engine, way: str) -> None:
    letter = {"reboot": "b", "crash": "c"}[way]
    async with engine.sandbox("bash") as sandbox:
        async with sandbox.start(
            ["bash", "-c", f"echo last; sleep .3; echo {letter} > /proc/sysrq-trigger; sleep 600"],
            user="root",
        ) as process:
            result = await process.result()
        assert result.status is RunStatus.VM_DIED
        assert result.message is not None
        assert "the VM ended" in result.message
        assert sandbox.closed
    await _next_run_works(engine)


async def test_a_corrupted_stream_ends_the_sandbox_and_not_the_host(engine: Engine) -> None:
    # Root in the guest takes the agent's descriptor of the port and writes what is no frame.
    steal = (
        "import ctypes, os, glob\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "pidfd = libc.syscall(434, 1, 0)\n"
        "for link in glob.glob('/proc/1/fd/*'):\n"
        "    if 'vport' in os.readlink(link):\n"
        "        fd = libc.syscall(438, pidfd, int(link.rsplit('/', 1)[1]), 0)\n"
        "        os.write(fd, b'\\xff' * 4096)\n"
        "import time; time.sleep(30)\n"
    )
    async with engine.sandbox("python") as sandbox:
        async with sandbox.start(["python3", "-c", steal], user="root", timeout_s=PATIENCE_S) as process:
            result = await process.result()
        assert result.status is RunStatus.VM_DIED
        assert result.message is not None
        assert "agent" in result.message
    await _next_run_works(engine)


async def test_a_vm_that_stops_under_a_program_costs_itself_and_not_the_caller(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 1.0)
    for limit_s in LIMITS_S:
        async with engine.sandbox("python") as sandbox:
            async with sandbox.start(["sh", "-c", "echo on; sleep 1000"], timeout_s=limit_s) as process:
                pieces = []
                async for piece in process.output():
                    pieces.append(piece.data)
                    # All of the VMM, with its clocks: neither it nor the guest can tell that the time
                    # is over.
                    os.kill(sandbox.pid, signal.SIGSTOP)
                result = await process.result()
            assert result.status is RunStatus.TIMED_OUT
            if not pieces:
                continue
            assert pieces == [b"on\n"]
            assert result.message is not None
            assert "its VM was ended" in result.message
            assert sandbox.closed
            assert sandbox.state is MachineState.KILLED
            return
    pytest.fail("the program never began")


async def test_a_vm_that_begins_nothing_is_lost_and_not_the_programs_fault(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox:
        await sandbox.run("print(1)")
        await sandbox._live.machine.pause()
        sandbox._live.patience_s = 1.0
        result = await sandbox.run("print(2)", timeout_s=1)
        assert result.status is RunStatus.VM_DIED
        assert result.message is not None
        assert "began no program" in result.message
        assert sandbox.state is MachineState.KILLED


async def test_a_vm_that_stops_under_a_program_without_a_limit_is_noticed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.deadline.CHECK_S", 0.5)
    async with engine.sandbox("python") as sandbox:
        sandbox._live.patience_s = 20.0
        async with sandbox.start(
            ["sh", "-c", "echo on; sleep 3600"], limits=Limits(timeout_s=None)
        ) as process:
            async for _ in process.output():
                os.kill(sandbox.pid, signal.SIGSTOP)
            result = await process.result()
        assert result.status is RunStatus.VM_DIED
        assert sandbox.state is MachineState.KILLED


async def test_cancelling_a_run_leaves_nothing(engine: Engine) -> None:
    task = asyncio.create_task(engine.run("while True: pass", runtime="python"))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _next_run_works(engine)


async def test_a_cancelled_process_says_so(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox, sandbox.start(["sleep", "3600"]) as process:
        await process.cancel()
        result = await process.result()
    assert (result.status, result.message) == (RunStatus.CANCELLED, "cancelled by its caller")


async def test_binary_output_comes_back_unchanged(engine: Engine) -> None:
    result = await engine.run(
        "import sys; sys.stdout.buffer.write(bytes(range(256)) * 100)", runtime="python"
    )
    assert result.stdout_data == bytes(range(256)) * 100


async def test_an_empty_program_and_an_empty_input(engine: Engine) -> None:
    assert (await engine.run("", runtime="python")).ok
    assert (
        await engine.run("import sys; print(len(sys.stdin.read()))", runtime="python", stdin=b"")
    ).stdout == "0\n"


@pytest.mark.slow
async def test_100_mib_of_input(engine: Engine) -> None:
    code = "import sys, hashlib\nd = sys.stdin.buffer\nn = 0\nwhile b := d.read(2**20): n += len(b)\nprint(n)"

    async def feed() -> object:
        piece = bytes(2**20)
        for _ in range(100):
            yield piece

    result = await engine.run(code, runtime="python", stdin=feed(), timeout_s=PATIENCE_S)  # type: ignore[arg-type]
    assert result.stdout == f"{100 * 2**20}\n"


async def test_a_large_program_streams(engine: Engine) -> None:
    code = "x = '" + "a" * 2_000_000 + "'\nprint(len(x))"
    assert (await engine.run(code, runtime="python")).stdout == "2000000\n"


@pytest.mark.parametrize("name", ["../up.py", "a/../../b.py", "", "a\0b"])
async def test_names_that_lead_out_are_refused(engine: Engine, name: str) -> None:
    with pytest.raises(InvalidInput):
        await engine.run("print(1)", runtime="python", name=name)


@pytest.mark.parametrize("name", ["new\nline.py", "späce d.py", "-c", "--", "'quote\".py", "日本.py"])
async def test_odd_names_are_just_names(engine: Engine, name: str) -> None:
    script = name if not name.startswith("-") else f"./{name}"
    result = await engine.run("import sys; print(repr(sys.argv[0]))", runtime="python", name=script)
    assert result.stdout == f"{script!r}\n"


async def test_absolute_names_stay_in_the_guest(engine: Engine, tmp_path: Path) -> None:
    target = tmp_path / "host"
    result = await engine.run(
        "print(open('/tmp/abs').read())", runtime="python", files={"/tmp/abs": b"there"}
    )
    assert result.stdout == "there\n"
    with pytest.raises(GuestRequestFailed):
        async with engine.sandbox("python") as sandbox:
            await sandbox.write_file("/etc/passwd", b"")
    assert not target.exists()


@pytest.mark.parametrize("kind", ["dotdot", "absolute", "link", "hardlink", "device", "through"])
async def test_hostile_archives_are_refused(engine: Engine, kind: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("inside")
        if kind == "dotdot":
            entry.name = "../../etc/evil"
        elif kind == "absolute":
            entry.name = "/etc/evil"
        elif kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc"
        elif kind == "hardlink":
            entry.type, entry.linkname = tarfile.LNKTYPE, "../../etc/passwd"
        elif kind == "device":
            entry.type = tarfile.CHRTYPE
        archive.addfile(entry)
        if kind == "through":
            link = tarfile.TarInfo("way")
            link.type, link.linkname = tarfile.SYMTYPE, "../../etc"
            archive.addfile(link)
            archive.addfile(tarfile.TarInfo("way/evil"))
    async with engine.sandbox("python") as sandbox:
        with pytest.raises(GuestRequestFailed) as caught:
            await sandbox.put_archive(packed.getvalue(), "target")
        assert caught.value.reason == ("bad_request" if kind == "device" else "outside_folder")
        assert (await sandbox.command(["ls", "/etc/evil"])).exit_code == 2


async def test_a_link_out_of_the_folder_leads_nowhere_on_the_host(engine: Engine) -> None:
    async with engine.sandbox("python") as sandbox:
        await sandbox.run(
            "import os; os.symlink('/etc/hostname', 'link'); os.symlink('/proc/1/environ', 'secret')"
        )
        with pytest.raises(GuestRequestFailed) as caught:
            await sandbox.read_file("secret")
        assert caught.value.reason == "denied"
        assert os.uname().nodename.encode() not in await sandbox.read_file("link")


async def test_a_program_that_does_not_exist(engine: Engine) -> None:
    async with engine.sandbox("bash") as sandbox:
        result = await sandbox.command(["no-such-program"])
    assert result.status is RunStatus.START_FAILED
    assert result.message is not None
    assert "no-such-program" in result.message


async def test_fifty_at_once(engine: Engine) -> None:
    results: list[RunResult] = await asyncio.gather(
        *(engine.run(f"print({n} * 2)", runtime="python", timeout_s=PATIENCE_S) for n in range(50))
    )
    assert [result.stdout for result in results] == [f"{n * 2}\n" for n in range(50)]
