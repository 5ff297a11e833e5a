"""The client against a real server: every call once, and what only a real one shows."""

from __future__ import annotations

import asyncio
import io
import logging
import tarfile
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.client import AsyncClient, AttemptBegan, Client, JobEnded
from emberbox.errors import (
    BootFailed,
    Conflict,
    IdempotencyMismatch,
    InvalidArchive,
    InvalidInput,
    KeySuspended,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    ServerUnreachable,
    UnknownRuntime,
)
from emberbox.schemas.jobs import JobStatus, LogEntry
from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Served

SLOW = "import time\nfor n in range(5):\n    print('line', n, flush=True)\n    time.sleep(0.1)\n"


async def test_run(client: AsyncClient) -> None:
    job = await client.run(
        "import os, sys; print(sys.argv[1:], os.environ['NAME'], sys.stdin.read(), open('in.txt').read())\n"
        "sys.exit(3)",
        runtime="python",
        args=["a", "b c"],
        stdin="input",
        env={"NAME": "value"},
        files={"in.txt": "content"},
        labels={"team": "x"},
    )
    assert (job.status, job.exit_code, job.ok) == (JobStatus.FAILED, 3, False)
    assert (job.stdout, job.stderr) == ("['a', 'b c'] value input content\n", "")
    assert (job.labels, job.env_names) == ({"team": "x"}, ["NAME"])


async def test_run_of_a_file_tells_its_runtime(client: AsyncClient, tmp_path: Path) -> None:
    script = tmp_path / "hello.sh"
    script.write_text("echo from $0")
    job = await client.run(script)
    assert (job.runtime, job.stdout) == ("bash", "from hello.sh\n")
    with pytest.raises(UnknownRuntime, match="bash"):
        await client.run(tmp_path / "x.cobol")
    with pytest.raises(InvalidInput, match="runtime="):
        await client.run("1")


async def test_bytes_of_any_kind(client: AsyncClient) -> None:
    data = bytes(range(256))
    code = "import sys; d = sys.stdin.buffer.read() + open('f', 'rb').read(); sys.stdout.buffer.write(d)"
    job = await client.run(code, runtime="python", stdin=data, files={"f": data})
    assert await client.jobs.output(job.id) == data + data
    assert await client.jobs.output(job.id, "stderr") == b""
    entries = [entry async for entry in client.jobs.logs(job.id, binary=True)]
    from emberbox.client.log_events import entry_bytes

    assert b"".join(entry_bytes(entry, binary=True) for entry in entries) == data + data


async def test_code_that_is_no_text(client: AsyncClient) -> None:
    job = await client.run(b"echo '\xff'", runtime="bash")
    assert await client.jobs.output(job.id) == b"\xff\n"


async def test_follow_and_wait(client: AsyncClient) -> None:
    job = await client.jobs.submit(SLOW, runtime="python")
    assert not job.status.terminal
    events = [event async for event in client.jobs.events(job.id)]
    assert "".join(event.data for event in events if isinstance(event, LogEntry)) == "".join(
        f"line {n}\n" for n in range(5)
    )
    assert isinstance(events[-1], JobEnded)
    assert (await client.jobs.wait(job.id)).ok
    entries = [event for event in events if isinstance(event, LogEntry)]
    after = entries[0].id
    rest = [entry.data async for entry in client.jobs.logs(job.id, follow=True, after=after)]
    assert rest == [entry.data for entry in entries[1:]]
    assert rest == [entry.data async for entry in client.jobs.logs(job.id, after=after)]


async def test_many_follow_with_one_client(client: AsyncClient) -> None:
    job = await client.jobs.submit(SLOW, runtime="python")

    async def follow() -> str:
        return "".join([entry.data async for entry in client.jobs.logs(job.id, follow=True)])

    assert set(await asyncio.gather(*(follow() for _ in range(150)))) == {
        "".join(f"line {n}\n" for n in range(5))
    }


async def test_a_new_attempt_is_told(client: AsyncClient) -> None:
    job = await client.jobs.submit("echo tried; exit 1", runtime="bash", retries=1)
    events = [event async for event in client.jobs.events(job.id)]
    assert [event.attempt for event in events if isinstance(event, AttemptBegan)][-1] == 2
    assert isinstance(events[-1], JobEnded)
    assert (events[-1].job.attempt, len(events[-1].job.attempts or ())) == (2, 2)


async def test_waiting_has_a_bound_if_wanted(client: AsyncClient) -> None:
    job = await client.jobs.submit("sleep 3600", runtime="bash")
    began = asyncio.get_running_loop().time()
    assert not (await client.jobs.wait(job.id, timeout_s=0.4)).status.terminal
    assert asyncio.get_running_loop().time() - began > 0.3
    await client.jobs.cancel(job.id)
    ended = await client.jobs.wait(job.id)
    assert ended.status is JobStatus.CANCELLED
    assert (await client.jobs.cancel(job.id)).status is JobStatus.CANCELLED
    with pytest.raises(NotFound):
        await client.jobs.cancel("job_00000000000000000000000000")


async def test_one_idempotency_key_makes_one_job(client: AsyncClient) -> None:
    first = await client.jobs.submit("1", runtime="python", idempotency_key="once")
    assert (await client.jobs.submit("1", runtime="python", idempotency_key="once")).id == first.id
    with pytest.raises(IdempotencyMismatch):
        await client.jobs.submit("2", runtime="python", idempotency_key="once")


@pytest.mark.parametrize(
    "options",
    [{"idempotency_key": "a\nb"}, {"idempotency_key": "ü"}, {"stdin": "\udcff"}, {"timeout_s": float("nan")}],
)
async def test_what_cannot_be_sent(client: AsyncClient, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await client.jobs.submit("1", runtime="python", **options)


async def test_lists_page_by_themselves(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [await client.jobs.submit(f"{n}", runtime="python", labels={"n": str(n % 2)}) for n in range(7)]
    from emberbox.client._async import transport

    monkeypatch.setattr(transport, "PAGE", 3)
    newest_first = [job.id for job in reversed(jobs)]
    assert [job.id async for job in client.jobs.list()] == newest_first
    assert [job.id async for job in client.jobs.list(limit=4)] == newest_first[:4]
    assert [job.id async for job in client.jobs.list(label=("n", "1"))] == [
        job.id for job in reversed(jobs[1::2])
    ]
    assert [job.id async for job in client.jobs.list(runtime="bash")] == []
    with pytest.raises(InvalidInput):
        [job async for job in client.jobs.list(status="nonsense")]


async def test_rerun_and_delete(client: AsyncClient) -> None:
    job = await client.run("print(1)", runtime="python")
    again = await client.jobs.rerun(job.id, wait=True)
    assert (again.rerun_of, again.stdout) == (job.id, "1\n")
    await client.jobs.delete(job.id)
    with pytest.raises(NotFound):
        await client.jobs.get(job.id)
    waiting = await client.jobs.submit("sleep 30", runtime="bash")
    with pytest.raises(Conflict):
        await client.jobs.delete(waiting.id)
    await client.jobs.cancel(waiting.id)


async def test_artifacts(client: AsyncClient, tmp_path: Path) -> None:
    code = (
        "mkdir -p out/deep; echo one > out/a.txt; head -c 300000 /dev/zero > out/deep/b.bin; echo no > c.log"
    )
    job = await client.run(code, runtime="bash", artifacts=["out/**"])
    found = {artifact.path: artifact async for artifact in client.jobs.artifacts(job.id)}
    assert set(found) == {"out/a.txt", "out/deep/b.bin"}
    assert await client.jobs.read_artifact(job.id, "out/a.txt") == b"one\n"
    path = await client.jobs.download(job.id, found["out/deep/b.bin"], tmp_path)
    assert (path, path.read_bytes()) == (tmp_path / "b.bin", bytes(300_000))
    assert await client.jobs.download(job.id, "out/a.txt", tmp_path / "named") == tmp_path / "named"
    everything = await client.jobs.download_all(job.id, tmp_path / "all")
    assert {file.relative_to(tmp_path / "all").as_posix() for file in everything} == set(found)
    with pytest.raises(NotFound, match="'x'"):
        await client.jobs.download(job.id, "x", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith(".emberbox")) == []


async def test_scripts(client: AsyncClient, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "lib/__pycache__").mkdir(parents=True)
    (folder / "main.py").write_text(
        "from lib.words import WORD; import subprocess, sys\n"
        "print(WORD, sys.argv[1:], flush=True); subprocess.run('./tool')"
    )
    (folder / "lib/words.py").write_text("WORD = 'word'")
    (folder / "lib/__pycache__/junk.pyc").write_text("junk")
    (folder / "tool").write_text("#!/bin/sh\necho tool")
    (folder / "tool").chmod(0o755)
    script = await client.scripts.upload(folder, labels={"a": "b"}, name="project")
    assert (script.runtime, script.entry, script.name, script.labels) == (
        "python",
        "main.py",
        "project",
        {"a": "b"},
    )
    assert [(file.path, file.executable) for file in script.files or ()] == [
        ("lib/words.py", False),
        ("main.py", False),
        ("tool", True),
    ]
    job = await client.scripts.run(script.id, args=["x"])
    assert (job.script_id, job.stdout) == (script.id, "word ['x']\ntool\n")
    with tarfile.open(fileobj=io.BytesIO(await client.scripts.content(script.id))) as archive:
        assert sorted(archive.getnames()) == ["lib/words.py", "main.py", "tool"]
    assert [one.id async for one in client.scripts.list(label=("a", "b"))] == [script.id]
    assert (await client.scripts.get(script.id)).sha256 == script.sha256
    await client.scripts.delete(script.id)
    with pytest.raises(NotFound):
        await client.scripts.get(script.id)


async def test_the_ways_to_upload(client: AsyncClient, tmp_path: Path) -> None:
    single = tmp_path / "a.py"
    single.write_text("print('single')")
    helper = tmp_path / "helper.sh"
    helper.write_text("echo helper")
    packed = tmp_path / "z.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("main.py", "print('zip')")
    sources: list[tuple[object, dict[str, str], str]] = [
        (single, {}, "single"),
        (str(single), {}, "single"),
        ([single, helper], {"entry": "a.py", "runtime": "python"}, "single"),
        (b"print('bytes')", {"filename": "b.py"}, "bytes"),
        (packed, {}, "zip"),
    ]
    for source, options, expected in sources:
        script = await client.scripts.upload(source, **options)  # type: ignore[arg-type]
        assert (await client.scripts.run(script.id)).stdout == f"{expected}\n"
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04nonsense")
    with pytest.raises(InvalidArchive):
        await client.scripts.upload(tmp_path / "bad.zip")


async def test_keys(client: AsyncClient, served: Served) -> None:
    made = await client.keys.create(
        "ci", ["read"], expires_at=datetime.now(UTC) + timedelta(days=1), quota={"burst": 9}
    )
    async with AsyncClient(served.url, made.secret) as reader:
        assert (await reader.me()).id == made.id
        with pytest.raises(NotAllowed, match="'run'"):
            await reader.run("1", runtime="python")
        rotated = await client.keys.rotate(made.id)
        with pytest.raises(NotAuthenticated):
            await reader.me()
    changed = await client.keys.update(made.id, name="new", expires_at=None)
    assert (changed.name, changed.expires_at, rotated.secret != made.secret) == ("new", None, True)
    assert made.id in [key.id async for key in client.keys.list()]
    assert (await client.keys.revoke(made.id)).revoked_at is not None
    assert (await client.keys.get(made.id)).hint == rotated.secret[-4:]


async def test_teams(client: AsyncClient, served: Served) -> None:
    team = await client.teams.create("data", quota={"queued_jobs": 5})
    with pytest.raises(Conflict):
        await client.teams.create("data")
    changed = await client.teams.update(team.id, name="science")
    assert (changed.name, changed.quota) == ("science", {"queued_jobs": 5})
    assert (await client.teams.update(team.id, quota={})).quota == {}
    assert [one.name async for one in client.teams.list()] == ["science", "main"]
    made = await client.keys.create("k", team=team.id)
    assert [key.id async for key in client.keys.list(team=team.id)] == [made.id]
    async with AsyncClient(served.url, made.secret) as theirs:
        assert (await theirs.teams.get(team.id)).name == "science"
        job = await theirs.run("1", runtime="python")
        script = await theirs.scripts.upload(b"print(1)", filename="a.py")
        hook = await theirs.webhooks.create("http://127.0.0.1:9/hook")
    assert [one.id async for one in client.jobs.list()] == []
    assert [one.id async for one in client.jobs.list(team=team.id)] == [job.id]
    assert [one.id async for one in client.scripts.list(team="all")] == [script.id]
    assert [one.id async for one in client.webhooks.list(team=team.id)] == [hook.id]
    assert (await client.usage(team=team.id)).jobs == 1


async def test_a_key_that_is_suspended_resumed_and_revoked(client: AsyncClient, served: Served) -> None:
    made = await client.keys.create("k")
    async with AsyncClient(served.url, made.secret) as theirs:
        job = await theirs.jobs.submit("sleep 600", runtime="bash")
        assert (await client.keys.suspend(made.id)).suspended_at is not None
        with pytest.raises(KeySuspended):
            await theirs.me()
        assert (await client.keys.resume(made.id)).suspended_at is None
        assert (await theirs.me()).id == made.id
    await client.keys.revoke(made.id, running="keep")
    assert (await client.jobs.get(job.id)).status in ("queued", "running", "cancelled")
    await client.keys.revoke(made.id)
    assert (await client.jobs.wait(job.id)).status == "cancelled"


async def test_webhooks(client: AsyncClient) -> None:
    made = await client.webhooks.create("http://127.0.0.1:9/hook", ["job.failed"], description="mine")
    assert made.secret
    changed = await client.webhooks.update(made.id, active=False)
    assert (changed.active, changed.description) == (False, "mine")
    await client.webhooks.update(made.id, active=True, events=["*"])
    assert (await client.webhooks.rotate(made.id)).secret != made.secret
    sent = await client.webhooks.test(made.id)
    assert sent.event == "webhook.test"
    assert [one.id async for one in client.webhooks.deliveries(made.id)] == [sent.id]
    assert [one.id async for one in client.webhooks.deliveries(status="delivered")] == []
    assert (await client.webhooks.delivery(sent.id)).payload is not None
    assert [one.id async for one in client.webhooks.list()] == [made.id]
    assert (await client.webhooks.get(made.id)).url == made.url
    await client.webhooks.delete(made.id)
    with pytest.raises(NotFound):
        await client.webhooks.get(made.id)


async def test_the_service_itself(client: AsyncClient) -> None:
    await client.run("1", runtime="python")
    assert {"python", "bash"} <= {runtime.name for runtime in await client.runtimes()}
    assert (await client.node()).state == "ready"
    assert isinstance(await client.pools(), list)
    report = await client.usage(team="all")
    assert (report.jobs, report.until) == (1, datetime.now(UTC).date())
    assert (await client.usage(date(2020, 1, 1), date(2020, 1, 2))).jobs == 0


async def test_machines(client: AsyncClient, served: Served, tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("one\ntwo\nthree\n")
    (tmp_path / "vmm.log").write_text("a warning\n")
    spec = MachineSpec(
        id="m-1", run_dir=tmp_path, vcpus=1, memory_mib=64, kernel=tmp_path, initramfs=tmp_path
    )
    place = served.service.engine.book.enter(spec, UndoStack(), runtime="bash", source="cold")
    place.blame(BootFailed("it did not boot"))
    await place.leave()
    (machine,) = await client.machines.list()
    assert await client.machines.get("m-1") == machine
    assert (machine.id, machine.runtime, machine.reason) == ("m-1", "bash", "it did not boot")
    assert await client.machines.console("m-1", tail=2) == "two\nthree\n"
    assert await client.machines.log("m-1") == "a warning\n"
    with pytest.raises(NotFound):
        await client.machines.console("m-2")


async def test_the_blocking_client_is_the_same(served: Served, tmp_path: Path) -> None:
    def work() -> list[object]:
        with Client(served.url, served.secret) as client:
            job = client.run(SLOW, runtime="python", artifacts=["*"])
            script = client.scripts.upload(b"echo uploaded; echo kept > kept.txt", filename="a.sh")
            ran = client.scripts.run(script.id, artifacts=["*.txt"])
            kept = client.jobs.download(ran.id, "kept.txt", tmp_path)
            told = [entry.data for entry in client.jobs.logs(job.id, follow=True)]
            return [
                job.ok,
                ran.stdout,
                kept.read_text(),
                "".join(told).count("line"),
                len(list(client.jobs.list())),
            ]

    assert await asyncio.to_thread(work) == [True, "uploaded\n", "kept\n", 5, 2]


async def test_a_wrong_key_and_no_server(served: Served) -> None:
    async with AsyncClient(served.url, "ember_wrong") as stranger:
        with pytest.raises(NotAuthenticated):
            await stranger.me()
    async with AsyncClient("http://127.0.0.1:1", "ember_x", retries=0) as nobody:
        with pytest.raises(ServerUnreachable):
            await nobody.me()


ECHO = "import sys\nfor line in sys.stdin:\n    print('got', line.strip(), flush=True)\nprint('no more')\n"


async def test_attach(client: AsyncClient) -> None:
    job = await client.jobs.submit(ECHO, runtime="python", interactive=True)
    seen: list[str] = []
    async with client.jobs.attach(job.id) as conversation:
        await conversation.write("one\n")
        async for event in conversation:
            if isinstance(event, LogEntry):
                seen.append(event.data)
                if event.data == "got one\n":
                    await conversation.write(b"two\n")
                    await conversation.close_stdin()
        assert isinstance(event, JobEnded)
        assert event.job.ok
    assert "".join(seen) == "got one\ngot two\nno more\n"


async def test_attach_and_signal(client: AsyncClient) -> None:
    job = await client.jobs.submit(
        "trap 'echo caught; exit 5' INT; echo ready; while true; do sleep 0.1; done", runtime="bash"
    )
    async with client.jobs.attach(job.id, binary=True) as conversation:
        async for event in conversation:
            if isinstance(event, LogEntry) and event.data == "cmVhZHkK":
                await conversation.signal("SIGINT")
        assert isinstance(event, JobEnded)
        assert event.job.exit_code == 5


async def test_attach_to_what_is_not_there(client: AsyncClient, served: Served) -> None:
    with pytest.raises(NotFound):
        async with client.jobs.attach("job_00000000000000000000000000"):
            pass
    async with AsyncClient(served.url, "ember_wrong") as stranger:
        with pytest.raises(NotAuthenticated):
            async with stranger.jobs.attach("job_00000000000000000000000000"):
                pass
    with pytest.raises(ServerUnreachable):
        async with AsyncClient("http://127.0.0.1:1", "ember_x").jobs.attach("job_1"):
            pass


async def test_attach_of_the_blocking_client(served: Served) -> None:
    def work() -> str:
        with Client(served.url, served.secret) as client:
            job = client.jobs.submit(ECHO, runtime="python", interactive=True)
            with client.jobs.attach(job.id) as conversation:
                conversation.write("one\n")
                conversation.close_stdin()
                return "".join(event.data for event in conversation if isinstance(event, LogEntry))

    assert await asyncio.to_thread(work) == "got one\nno more\n"


async def test_the_key_is_in_no_log(
    client: AsyncClient, served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = await client.run("1", runtime="python")
    async with client.jobs.attach(job.id) as conversation:
        assert [type(event) for event in [event async for event in conversation]][-1] is JobEnded
    ours = [
        one
        for one in caplog.records
        if one.name.split(".")[0] in ("httpx", "httpcore") or "emberbox.client" in one.name
    ]
    assert ours
    assert not [one for one in ours if served.secret in one.getMessage()]
