"""Jobs from their acceptance to their end, with real programs under the real agent."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from emberbox.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    InvalidPath,
    NotFound,
    QuotaExceeded,
    ServiceStopping,
)
from emberbox.runtimes import RuntimeCatalog
from emberbox.service.jobs.logs.reading import JobEnded, LogRecord
from emberbox.service.jobs.submitting.order import JobOrder
from emberbox.store.records import JobSpec
from emberbox.store.tables import artifacts, attempts, idempotency, results
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.service.service import Service
    from tests.integration.jobs.conftest import Caller


async def test_a_job_and_all_that_is_told_of_it(caller: Caller) -> None:
    job = await caller.run(
        "echo out $1 $NAME; echo err >&2", args=["one"], env={"NAME": "x"}, labels={"team": "a"}, name="mine"
    )
    assert (job.status, job.reason, job.exit_code, job.attempt) == ("succeeded", "exited", 0, 1)
    assert (job.labels, job.name, job.runtime, job.entry) == ({"team": "a"}, "mine", "bash", "main.sh")
    output = await caller.service.jobs.output(job)
    assert (output.stdout, output.stderr, output.stdout_truncated) == (b"out one x\n", b"err\n", False)
    times = [job.created_at, job.claimed_at, job.started_at, job.ended_at, job.finished_at]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert job.metrics is not None
    assert job.metrics["run_ms"] > 0
    assert job.metrics["wait_ms"] >= 0
    caller.service.live.recent.clear()
    assert await caller.service.jobs.get(caller.key, job.id) == job
    assert await caller.service.jobs.output(job) == output


async def test_bounds_that_a_job_does_not_name_are_its_runtimes(caller: Caller) -> None:
    engine = caller.service.engine
    known = [replace(one, limits=replace(one.limits, pids=77)) for one in engine.runtimes]
    engine.runtimes = RuntimeCatalog(known)
    asked: tuple[dict[str, Any], ...] = ({}, {"pids": 5, "cpu_s": 3.5})
    limits = []
    for named in asked:
        job = await caller.submit("sleep 3600", timeout_s=600, **named)
        await caller.running(job.id)
        live = caller.service.live.get(job.id)
        assert live is not None
        assert live.sandbox is not None
        limits.append(live.sandbox.limits)
        await caller.service.jobs.cancel(caller.key, job.id)
    seen = [(one.timeout_s, one.cpu_s, one.pids, one.keep_bytes) for one in limits]
    assert seen == [(600, None, 77, None), (600, 3.5, 5, None)]


@pytest.mark.parametrize(
    ("code", "options", "status", "reason"),
    [
        ("exit 7", {}, "failed", "exited"),
        ("kill -SEGV $$", {}, "failed", "signalled"),
        ("sleep 60", {"timeout_s": 0.3}, "timed_out", "timeout"),
        ("yes", {"output_bytes": 100_000}, "failed", "output_limit"),
    ],
)
async def test_how_jobs_end(
    caller: Caller, code: str, options: dict[str, object], status: str, reason: str
) -> None:
    job = await caller.run(code, **options)
    assert (job.status, job.reason) == (status, reason)
    if reason == "exited":
        assert job.exit_code == 7
    else:
        assert job.message
    assert [attempt.outcome for attempt in await caller.service.jobs.attempts(job.id)] == [status]


async def test_files_and_standard_input(caller: Caller) -> None:
    files = {"data/a.txt": "text\n", "b.bin": {"base64": base64.b64encode(b"\x00\xff").decode()}}
    job = await caller.run("cat; cat data/a.txt; wc -c <b.bin", files=files, stdin="in\n")
    assert await caller.stdout(job) == "in\ntext\n2\n"
    job = await caller.run("cat", stdin_base64=base64.b64encode(bytes(range(256))).decode())
    assert (await caller.service.jobs.output(job)).stdout == bytes(range(256))


async def test_large_code_and_input(caller: Caller) -> None:
    code = "wc -c\n" + "# padding\n" * 20_000
    job = await caller.run(code, stdin="x" * 300_000)
    assert await caller.stdout(job) == "300000\n"


async def test_an_entry_among_the_files(caller: Caller) -> None:
    from emberbox.schemas.jobs import SubmitJob

    body = SubmitJob(
        runtime="bash", entry="bin/go.sh", files={"bin/go.sh": "cat lib/x", "lib/x": "from a file\n"}
    )
    order = await caller.service.orders.for_code(body)
    job, _ = await caller.service.submission.submit(caller.key, order)
    assert await caller.stdout(await caller.ended(job.id)) == "from a file\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout_s": 86_000}, "timeout_s may be at most 3600"),
        ({"memory_mib": 5000}, "memory_mib may be at most 4096"),
        ({"memory_mib": 256, "disk_mib": 512}, r"disk_mib must be 1 to the VM's memory \(256\)"),
        ({"args": ["x" * 90_000]}, "80 KiB together"),
        ({"stdin": "a", "stdin_base64": "YQ=="}, "not both"),
        ({"stdin_base64": "!"}, "stdin_base64 is not base 64"),
        ({"files": {"a": {"base64": "!"}}}, "is not base 64"),
        ({"interactive": True, "stdin": "x"}, "leave out stdin"),
        ({"code": ""}, "code is empty"),
        ({"code": None, "files": {"x.txt": ""}}, "none can be run"),
    ],
)
async def test_mistakes_are_told(caller: Caller, options: dict[str, object], message: str) -> None:
    values = {"code": "true", **options}
    with pytest.raises(InvalidInput, match=message):
        await caller.submit(**values)  # type: ignore[arg-type]


async def test_sizes_are_rounded_up_and_counted_so(caller: Caller) -> None:
    job = await caller.submit("true", memory_mib=100, vcpus=3, disk_mib=120)
    options = job.spec.options
    assert (options.memory_mib, options.vcpus, options.disk_mib) == (128, 4, 120)
    usual = (await caller.submit("true")).spec.options
    assert (usual.memory_mib, usual.vcpus, usual.disk_mib) == (None, None, None)
    await caller.ended(job.id)


async def test_a_vm_that_never_fits_into_this_host_is_refused(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caller.service.orders, "_largest_mib", 500)
    with pytest.raises(InvalidInput, match="at most 500 MiB of memory here, not 512"):
        await caller.submit("true", memory_mib=400 + 50)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", ".", "a/", "x" * 300])
async def test_paths_that_lead_out_are_refused(caller: Caller, path: str) -> None:
    with pytest.raises(InvalidPath):
        await caller.submit("true", files={path: ""})
    with pytest.raises(InvalidPath):
        await caller.submit("true", entry=path)


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "a/../*", "a\n*", "*/" * 65, "x" * 300])
async def test_globs_that_lead_out_or_can_be_none_are_refused(caller: Caller, pattern: str) -> None:
    with pytest.raises(InvalidPath, match="artifacts: "):
        await caller.submit("true", artifacts=[pattern])


async def test_the_log_is_complete_before_the_end_shows(caller: Caller) -> None:
    """Whoever sees a terminal state sees the whole log, small or large."""
    for lines in (10, 30_000):
        job = await caller.submit(f"for i in $(seq {lines}); do echo line $i; done")
        await caller.ended(job.id)
        caller.service.live.recent.clear()
        fresh = await caller.service.jobs.get(caller.key, job.id)
        data = b"".join([piece async for piece in caller.service.logs.raw(fresh)])
        assert data == b"".join(b"line %d\n" % number for number in range(1, lines + 1))
        assert len(data) == fresh.stdout_bytes


async def test_following_from_before_the_start_to_the_end(caller: Caller) -> None:
    job = await caller.submit("for i in 1 2 3; do echo $i; sleep 0.1; done; echo oh >&2")
    items = [item async for item in caller.service.logs.follow(job.id)]
    records = [item for item in items if isinstance(item, LogRecord)]
    assert [(record.stream, record.data) for record in records] == [
        ("stdout", b"1\n"),
        ("stdout", b"2\n"),
        ("stdout", b"3\n"),
        ("stderr", b"oh\n"),
    ]
    assert isinstance(items[-1], JobEnded)
    assert items[-1].job.status == "succeeded"
    again = [item async for item in caller.service.logs.follow(job.id, after=records[1].id)]
    assert again[:-1] == records[2:]


async def test_the_tail_and_ranges_of_a_log(caller: Caller) -> None:
    job = await caller.run("seq 1 10; echo oh >&2")
    logs = caller.service.logs

    async def raw(**options: object) -> bytes:
        return b"".join([piece async for piece in logs.raw(job, **options)])  # type: ignore[arg-type]

    assert await raw(stream="stdout", tail_lines=2) == b"9\n10\n"
    assert await raw(stream="stdout", tail_lines=0) == b""
    assert await raw(stream="stdout", tail_lines=99) == await raw(stream="stdout")
    assert await raw(stream="stdout", offset=2, limit=4) == b"2\n3\n"
    assert await raw(stream="stderr") == b"oh\n"
    assert await raw(offset=10_000) == b""


async def test_a_job_that_waits_is_cancelled_at_once_and_never_starts(
    service: Service, caller: Caller, other: Caller
) -> None:
    running = [await caller.submit("sleep 30") for _ in range(service.worker.concurrency)]
    for job in running:
        await caller.running(job.id)
    job = await caller.submit("echo started")
    with pytest.raises(NotFound):
        await service.jobs.cancel(other.key, job.id)
    cancelled = await service.jobs.cancel(caller.key, job.id)
    assert (cancelled.status, cancelled.reason, cancelled.attempt) == ("cancelled", "cancelled", 0)
    assert await service.jobs.cancel(caller.key, job.id) == cancelled, "cancelling again is harmless"
    for other_job in running:
        await service.jobs.cancel(caller.key, other_job.id)
    assert {(await caller.ended(job.id)).status for job in running} == {"cancelled"}
    assert (await service.jobs.get(caller.key, job.id)).attempt == 0


async def test_a_running_job_is_cancelled_with_what_it_wrote(caller: Caller) -> None:
    job = await caller.submit("echo begun; sleep 60")
    await caller.running(job.id)
    async for item in caller.service.logs.follow(job.id):
        if isinstance(item, LogRecord):
            await caller.service.jobs.cancel(caller.key, job.id)
    ended = await caller.ended(job.id)
    assert (ended.status, await caller.stdout(ended)) == ("cancelled", "begun\n")


async def test_a_job_that_ended_cannot_be_cancelled(caller: Caller) -> None:
    job = await caller.run("true")
    with pytest.raises(Conflict, match="ended already: succeeded"):
        await caller.service.jobs.cancel(caller.key, job.id)


async def test_cancelling_at_any_moment_leads_to_one_end(caller: Caller) -> None:
    async def one(delay_s: float) -> str:
        job = await caller.submit("echo x; sleep 0.05")
        await asyncio.sleep(delay_s)
        try:
            await caller.service.jobs.cancel(caller.key, job.id)
        except Conflict:
            assert (await caller.ended(job.id)).status == "succeeded"
        ended = await caller.ended(job.id)
        rows = await caller.service.jobs.attempts(job.id)
        assert len(rows) == ended.attempt <= 1
        return ended.status

    statuses = await asyncio.gather(*(one(number * 0.008) for number in range(30)))
    assert set(statuses) <= {"cancelled", "succeeded"}
    assert "cancelled" in statuses


async def test_retries(caller: Caller) -> None:
    job = await caller.run("exit 3", retries=1)
    assert (job.status, job.attempt, job.failures, job.losses) == ("failed", 2, 1, 0)
    assert [attempt.outcome for attempt in await caller.service.jobs.attempts(job.id)] == ["failed", "failed"]


async def test_rerunning(caller: Caller, other: Caller) -> None:
    first = await caller.run("cat; cat f", stdin="in", files={"f": "file"}, labels={"a": "b"})
    with pytest.raises(NotFound):
        await caller.service.jobs.get(other.key, first.id)
    second = await caller.service.submission.rerun(caller.key, first)
    assert second.rerun_of == first.id
    second = await caller.ended(second.id)
    assert await caller.stdout(second) == "infile"
    assert second.labels == first.labels


async def test_deleting_leaves_no_row_and_no_blob(service: Service, caller: Caller, other: Caller) -> None:
    running = await caller.submit("sleep 30")
    with pytest.raises(Conflict, match="cancel it first"):
        await service.jobs.delete(caller.key, running.id)
    await service.jobs.cancel(caller.key, running.id)
    job = await caller.run(
        "head -c 300000 /dev/zero | tr '\\0' x; echo keep >kept.txt",
        artifacts=["*.txt"],
        idempotency=("once", "hash"),
    )
    assert [artifact.path for artifact in await service.artifacts.list(job.id)] == ["kept.txt"]
    assert len([blob async for blob in service.blobs.list("")]) == 2
    with pytest.raises(NotFound):
        await service.jobs.delete(other.key, job.id)
    await service.jobs.delete(caller.key, job.id)
    with pytest.raises(NotFound):
        await service.jobs.get(caller.key, job.id)
    assert [blob async for blob in service.blobs.list("")] == []
    async with service.db.reading() as connection:
        for table in (results, attempts, artifacts, idempotency):
            found = await connection.execute(select(table).where(table.c.job_id == job.id))
            assert found.all() == []


async def test_artifacts_come_back(service: Service, caller: Caller) -> None:
    job = await caller.run("mkdir out; echo one >out/1.txt; echo two >out/2.log", artifacts=["out/*.txt"])
    (artifact,) = await service.artifacts.list(job.id)
    assert (artifact.path, artifact.size) == ("out/1.txt", 4)
    assert b"".join([piece async for piece in service.artifacts.stream(artifact)]) == b"one\n"
    submitted = await caller.submit("true")
    assert 4 < job.storage_bytes < 4 + 2 * submitted.storage_bytes, "the artifact and the row"


async def test_the_same_idempotency_key_gives_the_same_job(caller: Caller, other: Caller) -> None:
    first = await caller.submit("echo once", idempotency=("k", "hash"))
    again = await asyncio.gather(*(caller.submit("echo once", idempotency=("k", "hash")) for _ in range(5)))
    assert {job.id for job in again} == {first.id}
    with pytest.raises(IdempotencyMismatch):
        await caller.submit("echo twice", idempotency=("k", "other"))
    assert (await other.submit("echo once", idempotency=("k", "hash"))).id != first.id
    both = await asyncio.gather(*(caller.submit("echo new", idempotency=("new", "hash")) for _ in range(20)))
    assert len({job.id for job in both}) == 1


async def test_a_repeat_is_answered_while_the_service_drains(service: Service, caller: Caller) -> None:
    first = await caller.submit("echo once", idempotency=("k", "hash"))
    service.drain()
    assert (await caller.submit("echo once", idempotency=("k", "hash"))).id == first.id
    with pytest.raises(IdempotencyMismatch):
        await caller.submit("echo once", idempotency=("k", "other"))
    with pytest.raises(ServiceStopping):
        await caller.submit("echo new", idempotency=("new", "hash"))


async def test_pages(service: Service, caller: Caller, other: Caller) -> None:
    mine = [(await caller.submit("true", labels={"n": str(number % 2)})).id for number in range(7)]
    await other.submit("true")
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = await service.jobs.list(caller.key, cursor=cursor, limit=3)
        seen += [job.id for job in page]
        if cursor is None:
            break
    assert seen == mine[::-1]
    odd, _ = await service.jobs.list(caller.key, label=("n", "1"))
    assert [job.id for job in odd] == [mine[5], mine[3], mine[1]]
    for job_id in mine:
        await caller.ended(job_id)
    succeeded, _ = await service.jobs.list(caller.key, status="succeeded", runtime="bash")
    assert len(succeeded) == 7
    assert (await service.jobs.list(caller.key, script_id="script_x"))[0] == []
    with pytest.raises(InvalidInput, match="cursor"):
        await service.jobs.list(caller.key, cursor="nonsense")


async def test_a_job_that_cannot_be_written_does_not_hold_up_others(service: Service, caller: Caller) -> None:
    done = await caller.run("true")
    order = JobOrder(runtime="bash", entry="main.sh", content_sha=done.content_sha, spec=JobSpec(), labels={})
    orders = [order, replace(order, content_sha="0" * 64), order]
    answers = await asyncio.gather(
        *(service.submission.submit(caller.key, one) for one in orders), return_exceptions=True
    )
    assert isinstance(answers[1], Conflict)
    for answer in (answers[0], answers[2]):
        assert isinstance(answer, tuple)
        assert (await caller.ended(answer[0].id)).status == "succeeded"


async def test_a_queue_that_is_full_refuses(service: Service) -> None:
    from tests.integration.jobs.conftest import Caller

    key, _ = await service.keys.create("small", ["run"], quota={"queued_jobs": 2, "concurrent_jobs": 1})
    caller = Caller(service, key)
    first = await caller.submit("sleep 60")
    await caller.running(first.id)
    waiting = [await caller.submit("true") for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="2 jobs of this key wait already"):
        await caller.submit("true")
    assert {(await service.jobs.get(key, job.id)).status for job in waiting} == {"queued"}, (
        "one at once is this key's share"
    )
    await service.jobs.cancel(key, first.id)
    assert {(await caller.ended(job.id)).status for job in waiting} == {"succeeded"}
    await caller.run("true")


async def test_a_teams_keys_share_its_quota(service: Service) -> None:
    from tests.integration.jobs.conftest import Caller

    team = await service.teams.create("small", quota={"queued_jobs": 2, "concurrent_jobs": 1})
    one, two = [
        Caller(service, (await service.keys.create(name, ["run"], team_id=team.id))[0])
        for name in ("one", "two")
    ]
    first = await one.submit("sleep 60")
    await one.running(first.id)
    waiting = [await one.submit("true"), await two.submit("true")]
    with pytest.raises(QuotaExceeded, match="2 jobs of this team wait already"):
        await two.submit("true")
    assert {(await service.jobs.get(two.key, job.id)).status for job in waiting} == {"queued"}
    await service.jobs.cancel(two.key, first.id)
    assert {(await two.ended(job.id)).status for job in waiting} == {"succeeded"}


async def test_a_teams_new_quota_holds_at_once_and_a_key_gets_no_more_than_it(service: Service) -> None:
    from tests.integration.jobs.conftest import Caller

    team = await service.teams.create("small")
    _, secret = await service.keys.create("k", ["run"], team_id=team.id, quota={"storage_bytes": 1 << 40})
    caller = Caller(service, await service.keys.authenticate(secret))
    await caller.run("echo 123456789")
    await service.teams.update(team.id, quota={"storage_bytes": 5})
    caller = Caller(service, await service.keys.authenticate(secret))
    with pytest.raises(QuotaExceeded, match="this team stores"):
        await caller.submit("true")


async def test_cpu_time_of_a_day_is_a_quota(service: Service) -> None:
    from tests.integration.jobs.conftest import Caller

    key, _ = await service.keys.create("short", ["run"], quota={"cpu_s_day": 0.001})
    caller = Caller(service, key)
    await caller.run("for i in $(seq 20000); do :; done")
    with pytest.raises(QuotaExceeded, match="CPU seconds today"):
        await caller.submit("true")


class TestOneAtATime:
    @pytest.fixture
    def service_settings(self, service_settings: Settings) -> Settings:
        return replace(service_settings, worker=replace(service_settings.worker, concurrency=1, drain_s=0.5))

    async def test_priorities_and_turns(self, service: Service, caller: Caller, other: Caller) -> None:
        gate = service.settings.data / "gate"
        blocker = await caller.submit(f"until [ -e {gate} ]; do sleep 0.02; done")
        await caller.running(blocker.id)
        greedy = [await caller.submit("true") for _ in range(3)]
        modest = await other.submit("true")
        urgent = await caller.submit("true", priority=5)
        gate.touch()
        ended = [await caller.ended(job.id) for job in (*greedy, urgent)] + [await other.ended(modest.id)]
        order = [job.id for job in sorted(ended, key=lambda job: job.claimed_at or 0)]
        assert set(order[:2]) == {urgent.id, modest.id}, "a priority costs no other team a turn"
        assert order[2:] == [job.id for job in greedy]

    async def test_stopping_hands_back_what_does_not_end(self, service: Service, caller: Caller) -> None:
        job = await caller.submit("sleep 60")
        await caller.running(job.id)
        await service.worker.stop()
        now = await service.jobs.get(caller.key, job.id)
        assert (now.status, now.attempt, now.losses, now.interruptions) == ("queued", 1, 0, 1)
        (attempt,) = await service.jobs.attempts(job.id)
        assert (attempt.outcome, attempt.message) == (
            "interrupted",
            "the service stopped before it ended",
        )

    async def test_stopping_lets_what_ends_end(self, service: Service, caller: Caller) -> None:
        job = await caller.submit("sleep 0.2; echo done")
        await caller.running(job.id)
        await service.worker.stop(PATIENCE_S)
        assert (await service.jobs.get(caller.key, job.id)).status == "succeeded"
