from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import GuestGone, GuestTimeout, GuestViolation, InvalidInput
from emberbox.guest import ExecLimits, ExecRequest, GuestProcess, InlineFile
from emberbox.guest.credit import INITIAL_CREDIT
from emberbox.testing import FakeProgram, FakeRun
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.guest.conftest import Connect

RUN = ExecRequest(argv=("program",))
FED = ExecRequest(argv=("program",), stdin=True)
BRIEF = ExecRequest(argv=("program",), limits=ExecLimits(wall_ms=200))
UNLIMITED = ExecRequest(argv=("program",), limits=ExecLimits(wall_ms=None))


async def collect(process: GuestProcess, **arguments: Any) -> Any:
    return await process.collect(**{"keep_stdout": 1000, "keep_stderr": 1000, "timeout_s": 10, **arguments})


async def endless(run: FakeRun) -> int:
    while True:
        await run.write(bytes(65_536))


async def unending(run: FakeRun) -> int:
    await run.write(b"before")
    await asyncio.Event().wait()
    return 0


async def test_hello(connect: Connect) -> None:
    client, agent = await connect(program=FakeProgram(stdout=b"hello\n", stderr=b"oh\n", exit_code=3))
    process = await client.start(ExecRequest(argv=("python3", "-c", "…"), env={"A": "ä"}))
    outcome = await collect(process)
    assert (outcome.reason, outcome.exit_code, outcome.stdout, outcome.stderr) == (
        "exited",
        3,
        b"hello\n",
        b"oh\n",
    )
    assert (outcome.stdout_bytes, outcome.stderr_bytes, process.pid) == (6, 3, 101)
    assert agent.requests[0]["argv"] == ["python3", "-c", "…"]
    assert agent.requests[0]["env"] == {"A": "ä"}


async def test_host_keeps_no_more_than_asked_for(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=bytes(700_000), stderr=b"x" * 5000))
    outcome = await collect(await client.start(RUN), keep_stdout=10, keep_stderr=0)
    assert (len(outcome.stdout), outcome.stdout_bytes, outcome.stderr, outcome.stderr_bytes) == (
        10,
        700_000,
        b"",
        5000,
    )


async def test_counts_are_never_below_what_came(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=b"hello", result={"stdout_bytes": 1}))
    assert (await collect(await client.start(RUN))).stdout_bytes == 5


@pytest.mark.parametrize("size", [0, 1, 200_000, 1_000_000])
async def test_stdin_is_echoed_both_ways_at_once(connect: Connect, size: int) -> None:
    client, _ = await connect(program=FakeProgram(echo=True))
    data = bytes(index % 251 for index in range(size))
    outcome = await collect(await client.start(FED), stdin=data, keep_stdout=None)
    assert outcome.stdout == data


async def test_stdin_from_pieces(connect: Connect) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for index in range(5):
            await asyncio.sleep(0)
            yield b"%d\n" % index

    client, _ = await connect(program=FakeProgram(echo=True))
    assert (await collect(await client.start(FED), stdin=pieces())).stdout == b"0\n1\n2\n3\n4\n"


async def test_program_that_ignores_its_stdin(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=b"bye", delay_s=0.05))
    assert (await collect(await client.start(FED), stdin=bytes(2_000_000))).stdout == b"bye"


async def test_endless_stdin_stops_with_the_program(connect: Connect) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b"y\n"

    client, _ = await connect(program=FakeProgram(stdout=b"bye", delay_s=0.05))
    assert (await collect(await client.start(FED), stdin=pieces())).stdout == b"bye"


async def test_stdin_after_the_end_is_dropped(connect: Connect) -> None:
    client, _ = await connect()
    process = await client.start(FED)
    await process.result(timeout_s=PATIENCE_S)
    await process.write_stdin(bytes(1_000_000))
    await process.close_stdin()


async def test_stdin_that_fails_abandons_the_run(connect: Connect) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        raise TimeoutError("the caller's own")

    client, _ = await connect(program=FakeProgram(echo=True))
    with pytest.raises(TimeoutError, match="own"):
        await collect(await client.start(FED), stdin=pieces())
    await client.ping()


async def test_interactive(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(echo=True))
    process = await client.start(FED)
    output = process.output()
    for word in (b"one", b"two"):
        await process.write_stdin(word)
        piece = await anext(output)
        assert (piece.stream, piece.data) == ("stdout", word)
    await process.close_stdin()
    with pytest.raises(InvalidInput):
        await process.write_stdin(b"after the end")
    assert [piece async for piece in output] == []
    assert (await process.result(timeout_s=PATIENCE_S)).exit_code == 0
    await process.signal(15)


async def test_no_stdin_was_asked_for(connect: Connect) -> None:
    client, _ = await connect()
    process = await client.start(RUN)
    with pytest.raises(InvalidInput):
        await process.write_stdin(b"x")
    assert (await collect(process)).exit_code == 0


async def test_signals_kill_and_cancel(connect: Connect) -> None:
    client, agent = await connect(program=FakeProgram(delay_s=3600))
    killed, cancelled = await client.start(RUN), await client.start(RUN)
    await killed.signal(15)
    await killed.kill()
    await cancelled.cancel()
    assert (await killed.result(timeout_s=PATIENCE_S)).reason == "signalled"
    assert (await cancelled.result(timeout_s=PATIENCE_S)).reason == "cancelled"
    await agent.wait_idle()


async def test_result_that_takes_too_long_harms_nothing(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(delay_s=0.2))
    process = await client.start(RUN)
    with pytest.raises(GuestTimeout):
        await process.result(timeout_s=0.01)
    assert not client.closed
    assert (await process.result(timeout_s=PATIENCE_S)).exit_code == 0


async def test_collect_that_takes_too_long_abandons_the_run(connect: Connect) -> None:
    client, agent = await connect(program=endless)
    with pytest.raises(GuestTimeout):
        await collect(await client.start(RUN), timeout_s=0.1)
    await client.ping()
    await agent.wait_idle()


async def test_cancelled_collect_abandons_the_run(connect: Connect) -> None:
    client, agent = await connect(program=endless)
    task = asyncio.create_task(collect(await client.start(RUN)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await client.ping()
    await agent.wait_idle()


async def test_flood_stops_at_its_credit_and_holds_up_nobody(connect: Connect) -> None:
    client, agent = await connect(program=endless)
    processes = [await client.start(RUN) for _ in range(10)]
    for _ in range(20):
        await client.ping()
        await asyncio.sleep(0.005)
    assert {run.sent[1] for run in agent.runs.values()} == {INITIAL_CREDIT}
    piece = await anext(processes[0].output())
    assert 0 < len(piece.data) <= INITIAL_CREDIT


async def test_output_is_still_there_after_the_end(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=b"a" * 100_000))
    process = await client.start(RUN)
    await process.result(timeout_s=PATIENCE_S)
    assert b"".join([piece.data async for piece in process.output()]) == b"a" * 100_000


async def test_guest_that_goes_away_ends_everything(connect: Connect) -> None:
    client, agent = await connect(program=FakeProgram(delay_s=3600))
    process, fed = await client.start(RUN), await client.start(FED)
    waits = [
        asyncio.create_task(collect(process)),
        asyncio.create_task(fed.write_stdin(bytes(1_000_000))),
        asyncio.create_task(process.result(timeout_s=None)),
    ]
    await asyncio.sleep(0.02)
    await agent.close()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(result) for result in results] == [GuestGone, type(None), GuestGone]
    assert results[0] is not results[2]
    assert isinstance(client.failure, GuestGone)
    with pytest.raises(GuestGone):
        await client.start(RUN)


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "vanished"},
        {"reason": 7},
        {"exit_code": 256},
        {"exit_code": None},
        {"exit_code": True},
        {"signal": 9},
        {"reason": "signalled"},
        {"reason": "start_failed"},
        {"wall_us": -1},
        {"wall_us": 1e300},
        {"cpu_user_us": "1"},
        {"peak_memory_bytes": 2**64},
        {"pids_denied": None},
        {"message": 5},
    ],
)
async def test_outcome_that_cannot_be_is_a_violation(connect: Connect, wrong: dict[str, Any]) -> None:
    client, _ = await connect(program=FakeProgram(result=wrong))
    with pytest.raises(GuestViolation):
        await collect(await client.start(RUN))
    assert isinstance(client.failure, GuestViolation)


async def test_messages_are_bounded_and_cannot_steer_a_terminal(connect: Connect) -> None:
    failed = {
        "reason": "start_failed",
        "exit_code": None,
        "message": "\x1b[2J\u202e\ud800no\n" * 5000,
        "errno_name": "E\x07",
    }
    client, _ = await connect(program=FakeProgram(result=failed))
    outcome = await collect(await client.start(RUN))
    assert outcome.message is not None
    assert len(outcome.message) == 500
    assert outcome.message.isprintable()
    assert outcome.errno_name is None


async def test_files_that_do_not_fit_are_written_first(connect: Connect) -> None:
    client, agent = await connect()
    small, big = InlineFile("a.txt", b"small"), InlineFile("b.bin", bytes(400_000), 0o755)
    await collect(await client.start(ExecRequest(argv=("x",), files=(small,))))
    await collect(await client.start(ExecRequest(argv=("x",), files=(small, big))))
    assert [request["op"] for request in agent.requests] == ["exec", "write_file", "write_file", "exec"]
    assert [len(request["files"]) for request in agent.requests if request["op"] == "exec"] == [1, 0]
    assert len(agent.files["/work/b.bin"]) == 400_000
    assert agent.requests[2]["mode"] == 0o755


@pytest.mark.parametrize(
    "arguments",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0",)},
        {"argv": ("a",), "env": {"A=B": "c"}},
        {"argv": ("a",), "env": {"": "c"}},
    ],
)
def test_requests_that_cannot_be(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        ExecRequest(**arguments)


async def test_arguments_that_are_too_long(connect: Connect) -> None:
    client, _ = await connect()
    with pytest.raises(InvalidInput):
        await client.start(ExecRequest(argv=("x" * 300_000,)))
    await client.ping()


async def test_an_agent_that_never_begins_ends_the_session_by_the_hosts_clock(connect: Connect) -> None:
    client, _ = await connect(silent=True)
    process = await client.start(RUN, patience_s=0.2)
    assert [piece async for piece in process.output()] == []
    with pytest.raises(GuestTimeout, match="began no program within"):
        await process.result(timeout_s=None)
    assert (client.closed, process.pid) == (True, None)


async def test_a_program_that_goes_on_after_its_limit_ends_the_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 0.3)
    client, _ = await connect(program=unending)
    process = await client.start(BRIEF)
    assert [piece.data async for piece in process.output()] == [b"before"]
    with pytest.raises(GuestTimeout, match=r"still ran 0\.3 s after its limit of 0\.2 s"):
        await process.result(timeout_s=None)
    assert process.overdue


async def test_an_agent_that_does_not_heed_a_cancellation_ends_the_session(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.CANCEL_S", 0.3)
    client, _ = await connect(silent=True)
    process = await client.start(RUN)
    await process.cancel()
    with pytest.raises(GuestTimeout, match="did not end the program"):
        await process.result(timeout_s=None)


async def test_an_agent_that_waits_for_its_host_is_not_late(connect: Connect) -> None:
    client, _ = await connect(program=FakeProgram(stdout=bytes(2 * INITIAL_CREDIT)))
    process = await client.start(RUN)
    async with asyncio.timeout(PATIENCE_S):
        await process._channel._arrived.wait()
    # Nobody has read: the agent may send no more, and the end cannot come.
    process._channel._deadline._over("late")
    assert not client.closed
    assert sum([len(piece.data) async for piece in process.output()]) == 2 * INITIAL_CREDIT
    assert (await process.result(timeout_s=None)).exit_code == 0


async def test_an_agent_is_late_again_once_its_output_was_taken(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.deadline.LATE_S", 0.2)
    client, _ = await connect(program=unending)
    process = await client.start(RUN)
    async with asyncio.timeout(PATIENCE_S):
        await process._channel._arrived.wait()
    process._channel._deadline._over("late")
    assert [piece.data async for piece in process.output()] == [b"before"]
    with pytest.raises(GuestTimeout, match="late"):
        await process.result(timeout_s=None)


async def test_a_program_that_goes_on_is_late_however_much_it_writes(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 0.3)
    client, _ = await connect(program=endless)
    process = await client.start(BRIEF)
    async for _ in process.output():
        await asyncio.sleep(0)
    with pytest.raises(GuestTimeout, match="still ran"):
        await process.result(timeout_s=None)


@pytest.mark.parametrize("request_", [BRIEF, UNLIMITED], ids=["after its limit", "without a limit"])
async def test_an_agent_that_dies_behind_output_that_nobody_takes_is_found_out(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, request_: ExecRequest
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 0.3)
    monkeypatch.setattr("emberbox.guest.deadline.CHECK_S", 0.3)
    client, agent = await connect(program=unending)
    process = await client.start(request_, patience_s=0.5)
    async with asyncio.timeout(PATIENCE_S):
        await process._channel._arrived.wait()
        agent.silent = True
        await client.wait_closed()
    with pytest.raises(GuestTimeout, match="no sign of life"):
        await process.result(timeout_s=None)


async def test_an_agent_that_lives_is_let_be_for_as_long_as_nobody_takes_its_output(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.guest.process.GRACE_S", 0.1)
    monkeypatch.setattr("emberbox.guest.deadline.CHECK_S", 0.05)
    client, agent = await connect(program=FakeProgram(stdout=bytes(2 * INITIAL_CREDIT)))
    process = await client.start(BRIEF)
    await until(lambda: [request["op"] for request in agent.requests].count("ping") > 3)
    assert sum([len(piece.data) async for piece in process.output()]) == 2 * INITIAL_CREDIT
    assert (await process.result(timeout_s=None)).exit_code == 0


async def test_a_clone_without_a_first_answer_is_ended_though_nobody_waits(connect: Connect) -> None:
    client, _ = await connect(clone=True, silent=True)
    pending = client.start_resume(entropy=bytes(32), unix_ns=1, hostname="clone", within_s=0.2)
    async with asyncio.timeout(PATIENCE_S):
        await client.wait_closed()
    with pytest.raises(GuestTimeout, match="no first answer"):
        await pending.answer(60)
