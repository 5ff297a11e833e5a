"""What a caller can wait for of a sandbox and its programs, each while the VM stops for good."""

from __future__ import annotations

import asyncio
import inspect
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.errors import CompileFailed, GuestTimeout
from emberbox.model import CompileResult, Limits, RunResult
from emberbox.sandbox import Process, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    Stop = Callable[[], None]
    """Stops the VM with all its clocks."""
    Case = Callable[[Sandbox, Stop], Awaitable[object]]

LARGE = bytes(8 * 2**20)
"""More than can be under way at once."""
SLEEP = ["sh", "-c", "echo on; sleep 60"]
BOUND_S = 1.0
"""What the bounds are cut to."""
BOUNDS = (
    "emberbox.guest.channel.ABANDON_S",
    "emberbox.guest.client.ANSWER_S",
    "emberbox.guest.deadline.CHECK_S",
    "emberbox.guest.deadline.LATE_S",
    "emberbox.guest.files.REQUEST_S",
    "emberbox.guest.files.STALL_S",
    "emberbox.guest.process.CANCEL_S",
    "emberbox.guest.process.GRACE_S",
    "emberbox.guest.session.FLUSH_S",
    "emberbox.sandbox.vm.CONFIRM_S",
)


def public_waits(of: type) -> set[str]:
    """Return the names of the public methods of a class that somebody can wait for."""
    found = set()
    for name in dir(of):
        member = inspect.getattr_static(of, name)
        if inspect.isfunction(member) and (not name.startswith("_") or name in ("__aenter__", "__aexit__")):
            returned = str(inspect.signature(member).return_annotation)
            if (
                inspect.iscoroutinefunction(member)
                or inspect.isasyncgenfunction(member)
                or returned.startswith(("Async", "Awaitable", "Coroutine"))
            ):
                found.add(f"{of.__name__}.{name}")
    return found


def cut_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is bounded in tens of seconds be bounded in one."""
    for name in BOUNDS:
        monkeypatch.setattr(name, BOUND_S)


async def _all(pieces: AsyncIterator[object]) -> None:
    async for _ in pieces:
        pass


async def _after_the_first(pieces: AsyncIterator[object], stop: Stop) -> None:
    await anext(pieces)
    stop()
    await _all(pieces)


# -- files ---------------------------------------------------------------------------------------------


async def _write_file(sandbox: Sandbox, stop: Stop) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield LARGE
            stop()

    return await sandbox.write_file("a", pieces())


async def _read_file(sandbox: Sandbox, stop: Stop) -> object:
    await sandbox.write_file("a", b"x")
    stop()
    return await sandbox.read_file("a")


async def _stream_file(sandbox: Sandbox, stop: Stop) -> None:
    await sandbox.write_file("a", LARGE)
    await _after_the_first(sandbox.stream_file("a"), stop)


async def _put_archive(sandbox: Sandbox, stop: Stop) -> object:
    async def pieces() -> AsyncIterator[bytes]:
        member = tarfile.TarInfo("a")
        member.size = 2 * len(LARGE)
        yield member.tobuf() + LARGE
        stop()
        yield LARGE

    return await sandbox.put_archive(pieces())


async def _get_archive(sandbox: Sandbox, stop: Stop) -> None:
    await sandbox.write_file("a", LARGE)
    await _after_the_first(sandbox.get_archive("."), stop)


def _stopped(ask: Callable[[Sandbox], Awaitable[object]]) -> Case:
    """A request that is made of a VM that has stopped already."""

    async def case(sandbox: Sandbox, stop: Stop) -> object:
        stop()
        return await ask(sandbox)

    return case


async def _confirm(sandbox: Sandbox, stop: Stop) -> None:
    # As of a clone whose restore was a moment ago.
    stop()
    sandbox._live.resume = sandbox._live.guest.start_resume(
        entropy=bytes(32), unix_ns=1, hostname="again", within_s=BOUND_S
    )
    await sandbox.confirm()


async def _with_outputs(sandbox: Sandbox, stop: Stop) -> object:
    result = await sandbox.command(["sh", "-c", "mkdir -p output; echo kept > output/file"])
    stop()
    told = await sandbox.with_outputs(replace(result, left_files=True))
    assert "lost" in str(told.file_notes)
    return told


async def _death_reason(sandbox: Sandbox, stop: Stop) -> str:
    stop()
    try:
        await sandbox.metrics()
    except GuestTimeout as error:
        return await sandbox.death_reason(error)
    raise AssertionError("a VM that has stopped has answered")


async def _killed_from_outside(sandbox: Sandbox, stop: Stop) -> bool:
    stop()
    try:
        await sandbox.metrics()
    except GuestTimeout as error:
        return await sandbox.killed_from_outside(error)
    raise AssertionError("a VM that has stopped has answered")


async def _close(sandbox: Sandbox, stop: Stop) -> None:
    async with sandbox.start(["cat"], stdin=True):
        stop()
        await sandbox.close()


async def _kill(sandbox: Sandbox, stop: Stop) -> None:
    stop()
    await sandbox.kill()


async def _leave(sandbox: Sandbox, stop: Stop) -> None:
    async with sandbox:
        stop()


async def _enter(sandbox: Sandbox, stop: Stop) -> None:
    stop()
    async with sandbox:
        await sandbox.stat_file(".")


# -- programs ------------------------------------------------------------------------------------------


async def _started_large(sandbox: Sandbox, stop: Stop) -> object:
    stop()
    return await sandbox.start_script(LARGE)


async def _start_file(sandbox: Sandbox, stop: Stop) -> object:
    await sandbox.write_file("main.sh", b"sleep 60")
    stop()
    async with await sandbox.start_file("main.sh") as process:
        return await process.result()


async def _output(sandbox: Sandbox, stop: Stop) -> object:
    async with sandbox.start(SLEEP) as process:
        await _after_the_first(process.output(), stop)
        return await process.result()


async def _result_without_limit(sandbox: Sandbox, stop: Stop) -> object:
    async with sandbox.start(SLEEP, limits=Limits(timeout_s=None)) as process:
        await anext(process.output())
        stop()
        return await process.result()


async def _result_with_output_that_nobody_reads(sandbox: Sandbox, stop: Stop) -> object:
    async with sandbox.start(
        ["sh", "-c", "echo on; sleep 60"], timeout_s=sandbox.limits.timeout_s
    ) as process:
        assert process._guest is not None
        async with asyncio.timeout(60):
            await process._guest._channel._arrived.wait()
        stop()
        return await process._settled(process._guest.result(timeout_s=None))


async def _collect(sandbox: Sandbox, stop: Stop) -> object:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield LARGE
            stop()

    async with sandbox.start(["cat"], stdin=True) as process:
        return await process.collect(endless())


async def _write_stdin(sandbox: Sandbox, stop: Stop) -> object:
    async with sandbox.start(["cat"], stdin=True) as process:
        stop()
        await process.write_stdin(LARGE)
        return await process.result()


def _told(tell: Callable[[Process], Awaitable[object]]) -> Case:
    """A word to a program, whose VM stops before it, and then the wait for its end."""

    async def case(sandbox: Sandbox, stop: Stop) -> object:
        async with sandbox.start(SLEEP, stdin=True) as process:
            await anext(process.output())
            stop()
            await tell(process)
            return await process.result()

    return case


async def _enter_process(sandbox: Sandbox, stop: Stop) -> object:
    stop()
    async with sandbox.start(SLEEP) as process:
        return await process.result()


async def _leave_process(sandbox: Sandbox, stop: Stop) -> None:
    async with sandbox.start(SLEEP) as process:
        await anext(process.output())
        stop()
    await sandbox._live.guest.wait_closed()


async def _compile_midway(sandbox: Sandbox, stop: Stop) -> object:
    await sandbox.write_file("main", b"#!compile sleep 60")
    compiling = asyncio.create_task(
        sandbox.compile("main", timeout_s=sandbox.limits.timeout_s), name="compile"
    )
    await asyncio.sleep(BOUND_S)
    stop()
    return await compiling


CASES: dict[str, Case] = {
    "Sandbox.__aenter__": _enter,
    "Sandbox.__aexit__": _leave,
    "Sandbox.close": _close,
    "Sandbox.command": _stopped(lambda sandbox: sandbox.command(SLEEP)),
    "Sandbox.compile": _stopped(lambda sandbox: sandbox.compile("main")),
    "Sandbox.compile (midway)": _compile_midway,
    "Sandbox.confirm": _confirm,
    "Sandbox.death_reason": _death_reason,
    "Sandbox.delete_file": _stopped(lambda sandbox: sandbox.delete_file("a")),
    "Sandbox.get_archive": _get_archive,
    "Sandbox.kill": _kill,
    "Sandbox.killed_from_outside": _killed_from_outside,
    "Sandbox.list_files": _stopped(lambda sandbox: sandbox.list_files()),
    "Sandbox.make_folder": _stopped(lambda sandbox: sandbox.make_folder("a")),
    "Sandbox.metrics": _stopped(lambda sandbox: sandbox.metrics()),
    "Sandbox.outputs": _stopped(lambda sandbox: sandbox.outputs()),
    "Sandbox.put_archive": _put_archive,
    "Sandbox.read_file": _read_file,
    "Sandbox.run": _stopped(lambda sandbox: sandbox.run("echo on")),
    "Sandbox.start_file": _start_file,
    "Sandbox.start_script": _started_large,
    "Sandbox.stat_file": _stopped(lambda sandbox: sandbox.stat_file("a")),
    "Sandbox.stream_file": _stream_file,
    "Sandbox.with_outputs": _with_outputs,
    "Sandbox.write_file": _write_file,
    "Process.__aenter__": _enter_process,
    "Process.__aexit__": _leave_process,
    "Process.cancel": _told(Process.cancel),
    "Process.close_stdin": _told(Process.close_stdin),
    "Process.collect": _collect,
    "Process.kill": _told(Process.kill),
    "Process.output": _output,
    "Process.result": _told(Process.result),
    "Process.result (no limit)": _result_without_limit,
    "Process.result (output that nobody reads)": _result_with_output_that_nobody_reads,
    "Process.signal": _told(lambda process: process.signal(15)),
    "Process.write_stdin": _write_stdin,
}
"""By the method's name, behind which a second case of it says what is special."""
ENDED = frozenset({"vm_died", "timed_out", "cancelled"})


async def ends(name: str, sandbox: Sandbox, stop: Stop) -> None:
    """Carry out a case; the end of the VM must be told for what it is."""
    try:
        told = await CASES[name](sandbox, stop)
    except GuestTimeout:
        return
    except CompileFailed as error:
        told = error.result
    if isinstance(told, RunResult):
        assert told.left_files or told.status in ENDED, told
    if isinstance(told, CompileResult):
        assert told.reason in ENDED, told
