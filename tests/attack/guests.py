"""Hostile guests: programs that take all that there is, guests that lie, and VMMs that were taken over."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Limits, RunStatus
from emberbox.guest import ExecRequest
from emberbox.runtimes import builtin_folder, discover
from emberbox.vmm.qemu.driver import QemuDriver
from tests.attack.place_of_the_vmm import aimed_at, compile_probe, run_free, run_shut_in
from tests.attack.rows import Row
from tests.e2e.test_hostile import LIMITS_S
from tests.e2e.vmm_guests import machine_spec, talk
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.images import ImageStore

MIB = 2**20
ESCAPES = {
    "reads a file": ("opens a file of the host", "there is no such file where it is"),
    "writes a file": ("writes into a folder of the host that anybody may write to", "nothing is written"),
    "starts a program": ("starts a program of the host", "there is no such program where it is"),
    "sees a process": ("reads the command line of another process", "it sees no process but its own"),
    "traces a process": ("attaches to another process, as a debugger does", "it finds none"),
    "signals a process": ("signals another process", "it finds none"),
    "connects to a service": ("connects to a service on the host's loopback", "its loopback is its own"),
    "connects to an abstract socket": ("connects to an abstract socket of the host", "it finds none"),
    "becomes root": ("changes to uid 0", "it has no right to"),
    "mounts a file system": ("mounts a file system over a folder", "it has no right to"),
    "makes a device": ("makes a device node", "it has no right to"),
    "opens files without end": ("opens 400 files", "it has 256 descriptors at most"),
    "starts processes without end": ("starts 400 processes", "it has 65 threads at most"),
}
"""What the probe tries, by its own names, and what is to hold."""
_HERE = "attack/guests.py::test"
_HOSTILE = "e2e/test_hostile.py::test"
_FRAMES = "unit/guest/test_hostile.py::test"


def _bomb(name: str, tried: str, holds: str, *more: str) -> Row:
    kind = name.replace(" ", "_")
    return Row(
        name=name,
        tried=tried,
        holds=holds,
        tests=(f"{_HERE}_a_{kind}_is_held", *(f"{_HOSTILE}_{test}" for test in more)),
        control=(f"{_HERE}_a_{kind}_without_its_bound",),
    )


ROWS = (
    _bomb(
        "fork bomb",
        "a program starts processes without end",
        "the run's bound of processes refuses more; the sandbox goes on",
        "a_fork_bomb_is_held_and_dies_with_its_run",
    ),
    _bomb(
        "memory bomb",
        "a program takes memory without end, in four ways",
        "the run is ended as out of memory; the sandbox goes on",
        "a_memory_bomb_is_told",
    ),
    _bomb(
        "processor bomb",
        "a program computes without end",
        "the run is ended at its limit of processor time, and at that of the clock",
        "an_endless_loop_times_out",
    ),
    _bomb(
        "disk bomb",
        "a program writes files without end",
        "it has its bound of disk; the host's disk and the sandbox go on",
        "filling_the_disk_is_the_programs_own_trouble",
    ),
    _bomb(
        "flood of output",
        "a program prints without end",
        "the run is ended at its bound; the host keeps a bounded part",
        "huge_output_is_kept_counted_and_flagged",
    ),
    Row(
        name="console flood",
        tried="a guest prints on its console without end",
        holds="the file on the host ends at its bound; the VM goes on",
        tests=(f"{_HERE}_a_console_flood_is_held",),
        control=(f"{_HERE}_a_console_flood_without_its_bound",),
    ),
    Row(
        name="stopped VM",
        tried="a VM stops amid a run, and all clocks in it and in its VMM",
        holds="the host's own clock ends the run and the VM",
        tests=(
            f"{_HOSTILE}_a_vm_that_stops_under_a_program_costs_itself_and_not_the_caller",
            f"{_HOSTILE}_a_vm_that_begins_nothing_is_lost_and_not_the_programs_fault",
            f"{_HOSTILE}_a_vm_that_stops_under_a_program_without_a_limit_is_noticed",
        ),
        control=(f"{_HERE}_a_stopped_vm_without_the_hosts_clock",),
    ),
    Row(
        name="frames that lie",
        tried="a guest sends frames that are huge, of no kind, of others' channels, or noise",
        holds="its session ends; nothing that it says is reserved or believed",
        tests=(
            f"{_FRAMES}_misconduct_ends_the_session_for_all_who_wait",
            f"{_FRAMES}_any_bytes_end_in_a_guest_error",
            f"{_FRAMES}_any_frames_end_in_a_guest_error",
            f"{_HOSTILE}_a_corrupted_stream_ends_the_sandbox_and_not_the_host",
        ),
    ),
    Row(
        name="frame flood",
        tried="a guest sends frames faster than anybody reads them",
        holds="the host reads no faster than it allows, and its memory is bounded",
        tests=(
            f"{_FRAMES}_flood_is_read_no_faster_than_allowed",
            f"{_FRAMES}_memory_of_a_session_is_bounded",
        ),
    ),
    Row(
        name="killing the agent",
        tried="a program, root among them, kills PID 1 and all else in the guest",
        holds="the agent goes on",
        tests=(f"{_HOSTILE}_the_agent_cannot_be_killed_from_inside",),
    ),
    Row(
        name="calling out",
        tried="a program connects to addresses and asks for names",
        holds="the VM has no network",
        tests=("e2e/test_run.py::test_there_is_no_network",),
    ),
    *(
        Row(
            name=f"taken-over VMM {name}",
            tried=tried,
            holds=holds,
            tests=(f"{_HERE}_shut_in[{name}]",),
            control=(f"{_HERE}_not_shut_in[{name}]",),
        )
        for name, (tried, holds) in ESCAPES.items()
    ),
    Row(
        name="taken-over VMM from outside",
        tried="a live VMM's filter of calls, rights, namespaces, files and bounds are looked at",
        holds="each is as SECURITY.md says",
        tests=("e2e/test_confinement.py::test_confinement[confined",),
        control=("e2e/test_confinement.py::test_confinement[unconfined",),
    ),
)


# -- bombs --------------------------------------------------------------------------------------------

FORKS = (
    "import os, time\nmade = 0\ntry:\n    for _ in range(60):\n"
    "        if os.fork() == 0: time.sleep(3600); os._exit(0)\n        made += 1\n"
    "except OSError: pass\nprint(made, flush=True)\nos._exit(0)"
)


async def _forks(engine: Engine, pids: int) -> int:
    result = await engine.run(
        FORKS, runtime="python", memory_mib=512, limits=Limits(pids=pids, timeout_s=PATIENCE_S)
    )
    return int(result.stdout)


async def test_a_fork_bomb_is_held(engine: Engine, record_property: Callable[[str, object], None]) -> None:
    made = await _forks(engine, 24)
    record_property("processes", made)
    assert made < 24


async def test_a_fork_bomb_without_its_bound(engine: Engine) -> None:
    assert await _forks(engine, 1000) == 60


async def _takes_memory(engine: Engine, limit_mib: int | None) -> RunStatus:
    code = "x = bytearray(b'x') * (96 << 20); print(len(x))"
    limits = Limits(memory_mib=limit_mib, timeout_s=PATIENCE_S)
    return (await engine.run(code, runtime="python", memory_mib=512, limits=limits)).status


async def test_a_memory_bomb_is_held(engine: Engine) -> None:
    assert await _takes_memory(engine, 48) is RunStatus.OUT_OF_MEMORY


async def test_a_memory_bomb_without_its_bound(engine: Engine) -> None:
    assert await _takes_memory(engine, None) is RunStatus.SUCCEEDED


async def _computes(engine: Engine, limit_s: float | None) -> RunStatus:
    code = "import time\nwhile time.process_time() < 2: pass"
    limits = Limits(cpu_s=limit_s, timeout_s=PATIENCE_S)
    return (await engine.run(code, runtime="python", limits=limits)).status


async def test_a_processor_bomb_is_held(engine: Engine) -> None:
    assert await _computes(engine, 0.7) is RunStatus.CPU_LIMIT


async def test_a_processor_bomb_without_its_bound(engine: Engine) -> None:
    assert await _computes(engine, None) is RunStatus.SUCCEEDED


async def _writes(engine: Engine, disk_mib: int) -> int:
    code = (
        "f = open('big', 'wb')\ntry:\n    for _ in range(40): f.write(bytes(2**20)); f.flush()\n"
        "except OSError: pass\nimport os; print(os.path.getsize('big') // 2**20)"
    )
    result = await engine.run(
        code, runtime="python", memory_mib=512, disk_mib=disk_mib, limits=Limits(timeout_s=PATIENCE_S)
    )
    return int(result.stdout)


async def test_a_disk_bomb_is_held(engine: Engine, record_property: Callable[[str, object], None]) -> None:
    written = await _writes(engine, 16)
    record_property("MiB written of 16", written)
    assert written <= 16


async def test_a_disk_bomb_without_its_bound(engine: Engine) -> None:
    assert await _writes(engine, 96) == 40


async def _prints(engine: Engine, bound: int | None) -> tuple[RunStatus, int]:
    limits = Limits(output_bytes=bound, timeout_s=PATIENCE_S)
    result = await engine.run("for _ in range(40): print('y' * 100_000)", runtime="python", limits=limits)
    return result.status, result.stdout_bytes


async def test_a_flood_of_output_is_held(
    engine: Engine, record_property: Callable[[str, object], None]
) -> None:
    status, size = await _prints(engine, MIB)
    record_property("bytes taken of 1 MiB", size)
    assert status is RunStatus.OUTPUT_LIMIT


async def test_a_flood_of_output_without_its_bound(engine: Engine) -> None:
    assert await _prints(engine, None) == (RunStatus.SUCCEEDED, 40 * 100_001)


# -- the console --------------------------------------------------------------------------------------

CONSOLE_BYTES = 64 * 1024


async def _floods_its_console(images: ImageStore, data_folder: Path, folder: Path, *, confine: bool) -> int:
    """Have a guest print four times as much as its console may hold; return the length of the file."""
    image = images.find(discover([builtin_folder()]).get("python"))
    assert image is not None
    spec = machine_spec(image, folder, console_bytes=CONSOLE_BYTES)
    machine = await QemuDriver(data_folder / "vmm", confine=confine).start(spec)
    try:
        async with talk(machine) as client:
            await client.hello(timeout_s=PATIENCE_S)
            command = f"head -c {4 * CONSOLE_BYTES} /dev/zero | tr '\\0' y > /dev/console; echo through"
            process = await client.start(ExecRequest(argv=("sh", "-c", command), user="root"))
            told = await process.collect(keep_stdout=100, keep_stderr=100, timeout_s=PATIENCE_S)
            assert bytes(told.stdout) == b"through\n", "the guest goes on"
        return spec.console_log.stat().st_size
    finally:
        await machine.kill()


async def test_a_console_flood_is_held(
    images: ImageStore,
    data_folder: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    size = await _floods_its_console(images, data_folder, tmp_path, confine=True)
    record_property(f"bytes kept of {CONSOLE_BYTES}", size)
    assert size <= CONSOLE_BYTES


async def test_a_console_flood_without_its_bound(
    images: ImageStore, data_folder: Path, tmp_path: Path
) -> None:
    assert await _floods_its_console(images, data_folder, tmp_path, confine=False) >= 4 * CONSOLE_BYTES


# -- a VM that stops ----------------------------------------------------------------------------------


async def test_a_stopped_vm_without_the_hosts_clock(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.sandbox.process.GRACE_S", 3600.0)
    for limit_s in LIMITS_S:
        async with (
            engine.sandbox("python") as sandbox,
            sandbox.start(["sh", "-c", "echo on; sleep 3600"], timeout_s=limit_s) as process,
        ):
            stopped = asyncio.Event()

            async def read(pid: int = sandbox.pid, stopped: asyncio.Event = stopped) -> None:
                async for _ in process.output():
                    os.kill(pid, signal.SIGSTOP)
                    stopped.set()

            reading = asyncio.create_task(read())
            await until(lambda: stopped.is_set() or reading.done())  # noqa: B023
            if not stopped.is_set():
                await process.result()
                continue
            ending = asyncio.create_task(process.result())
            await asyncio.wait({ending}, timeout=limit_s + 1)
            hung = not ending.done()
            os.kill(sandbox.pid, signal.SIGCONT)
            await ending
            await reading
            assert hung
            return
    pytest.fail("the program never began")


# -- a VMM that was taken over ------------------------------------------------------------------------

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has what these attempts are after")


@pytest.fixture(scope="module")
def escapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], dict[str, str]]:
    """Return what became of each attempt: shut in, and not."""
    program = compile_probe(tmp_path_factory.mktemp("probe"))
    with aimed_at(tmp_path_factory.mktemp("in")) as host:
        shut_in = run_shut_in(program, host)
        written = [path.name for path in (host.folder / "writable").iterdir()]
    assert written == []
    with aimed_at(tmp_path_factory.mktemp("out")) as host:
        return shut_in, run_free(program, host)


@as_root
@pytest.mark.parametrize("name", ESCAPES)
def test_shut_in(escapes: tuple[dict[str, str], dict[str, str]], name: str) -> None:
    # The last attempt may cost the probe itself its life.
    told = escapes[0].get(name, "ended" if name == list(ESCAPES)[-1] else "")
    assert told


@as_root
@pytest.mark.parametrize("name", ESCAPES)
def test_not_shut_in(escapes: tuple[dict[str, str], dict[str, str]], name: str) -> None:
    assert escapes[1][name] == ""


@as_root
def test_the_probe_says_what_it_tries(escapes: tuple[dict[str, str], dict[str, str]]) -> None:
    assert set(escapes[1]) == set(ESCAPES)
