"""The commands against a real server, each as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import BootFailed
from emberbox.schemas.jobs import JobStatus
from emberbox.service.folder import ServiceFolder
from emberbox.tasks import UndoStack
from emberbox.vmm.base import MachineSpec
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.client import AsyncClient
    from tests.integration.client.conftest import Command
    from tests.integration.conftest import Served


async def test_submit_and_wait(emberbox: Command, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "import sys; print(sys.argv[1:], sys.stdin.read(), open('d/x').read()); sys.exit(7)"
    )
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("file")
    done = await emberbox(
        "submit", "job.py", "--wait", "-f", "d", "--stdin", "-", "--", "--flag", "a", stdin=b"typed"
    )
    assert (done.code, done.out, done.err) == (7, "['--flag', 'a'] typed file\n", "")


@pytest.mark.parametrize(
    ("code", "options", "exit_code", "told"),
    [
        ("exit 0", (), 0, ""),
        ("kill -TERM $$", (), 143, ""),
        ("sleep 60", ("-t", "0.3"), 124, "time"),
    ],
)
async def test_exit_codes(
    emberbox: Command, code: str, options: tuple[str, ...], exit_code: int, told: str
) -> None:
    done = await emberbox("submit", "-c", code, "-r", "bash", "--wait", *options)
    assert (done.code, told in done.err) == (exit_code, True)


async def test_output_comes_unchanged_to_where_it_belongs(emberbox: Command) -> None:
    done = await emberbox("submit", "-c", "printf 'a\\tb\\033[1m'; printf 'e' >&2", "-r", "bash", "--wait")
    assert (done.code, done.out, done.err) == (0, "a\tb\x1b[1m", "e")


async def test_interactive(emberbox: Command, environment: dict[str, str], tmp_path: Path) -> None:
    code = "while read -r x; do echo got $x; done; echo end; exit 4"
    done = await emberbox("submit", "-i", "-c", code, "-r", "bash", stdin=b"one\ntwo\n")
    assert (done.code, done.out, done.err) == (4, "got one\ngot two\nend\n", "")
    early = await emberbox("submit", "-i", "-c", "echo done", "-r", "bash", stdin=b"x" * 3_000_000)
    assert (early.code, early.out) == (0, "done\n")
    assert (await emberbox("submit", "-i", "--json", "-c", "1", "-r", "bash")).code == 2


async def test_submit_and_look_later(emberbox: Command, client: AsyncClient) -> None:
    done = await emberbox(
        "submit",
        "-c",
        "print('hello'); open('o.txt', 'w').write('kept')",
        "-r",
        "python",
        "-a",
        "*.txt",
        "-l",
        "k=v",
    )
    job_id = done.out.strip()
    assert (await client.jobs.wait(job_id)).labels == {"k": "v"}
    assert (await emberbox("logs", job_id)).out == "hello\n"
    followed = await emberbox("logs", "-f", job_id)
    assert (followed.code, followed.out, followed.err) == (0, "hello\n", "")
    entry = json.loads((await emberbox("logs", job_id, "--json")).out)
    assert (entry["stream"], entry["data"]) == ("stdout", "hello\n")
    assert (await emberbox("logs", job_id, "--stream", "stderr")).out == ""
    assert (await emberbox("logs", job_id, "--tail", "1")).out == "hello\n"
    assert (await emberbox("logs", job_id, "--tail", "0")).out == ""
    assert (await emberbox("logs", job_id, "--tail", "1", "-f")).code == 2
    shown = (await emberbox("jobs", "get", job_id)).out
    assert all(text in shown for text in (job_id, "succeeded", "k=v", "o.txt (4 B)"))
    assert json.loads((await emberbox("jobs", "get", job_id, "--json")).out)["stdout"] == "hello\n"
    assert "o.txt" in (await emberbox("jobs", "artifacts", job_id)).out
    fetched = await emberbox("jobs", "download", job_id, "-o", "got")
    assert fetched.out == "got/o.txt\n"


async def test_jobs(emberbox: Command, client: AsyncClient) -> None:
    empty = await emberbox("jobs", "list")
    assert (empty.code, empty.out) == (0, "")
    assert "emberbox submit" in empty.err
    assert (await emberbox("jobs", "list", "--json")).out == "[]\n"
    one = await client.run("print(1)", runtime="python", labels={"a": "b=c"})
    two = await client.jobs.submit("sleep 60", runtime="bash")
    listed = (await emberbox("jobs", "list")).out.splitlines()
    assert [line.split()[0] for line in listed] == ["ID", two.id, one.id]
    early, late = await emberbox("jobs", "download", two.id), await emberbox("jobs", "download", one.id)
    assert (early.code, early.out, f"emberbox jobs wait {two.id}" in early.err) == (0, "", True)
    assert (late.code, late.out, "--artifact" in late.err) == (0, "", True)
    found = json.loads((await emberbox("jobs", "list", "--label", "a=b=c", "--json")).out)
    assert [job["id"] for job in found] == [one.id]
    assert json.loads((await emberbox("jobs", "cancel", two.id, "--json")).out)["id"] == two.id
    waited = await emberbox("jobs", "wait", two.id)
    assert (waited.code, "cancelled" in waited.out) == (130, True)
    again = await emberbox("jobs", "rerun", one.id, "--wait")
    assert (again.code, again.out) == (0, "1\n")
    assert (await emberbox("jobs", "delete", one.id)).code == 0
    gone = await emberbox("jobs", "get", one.id)
    assert (gone.code, gone.out, gone.err) == (2, "", f"emberbox: there is no job '{one.id}'\n")


async def test_scripts(emberbox: Command, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project/main.py").write_text("import sys; print('project', *sys.argv[1:])")
    script_id = (await emberbox("scripts", "upload", "project", "-l", "a=b")).out.strip()
    assert script_id in (await emberbox("scripts", "list")).out
    assert "main.py" in (await emberbox("scripts", "get", script_id)).out
    ran = await emberbox("scripts", "run", script_id, "--wait", "--", "x", "--y")
    assert (ran.code, ran.out) == (0, "project x --y\n")
    assert (await emberbox("scripts", "content", script_id)).out.count("print('project'") == 1
    assert (await emberbox("scripts", "delete", script_id)).code == 0
    assert (await emberbox("scripts", "get", script_id, "--json")).code == 2


async def test_keys_webhooks_usage_status(emberbox: Command) -> None:
    made = json.loads(
        (await emberbox("keys", "create", "ci", "--scope", "read", "--days", "3", "--json")).out
    )
    assert made["secret"].startswith("ember_")
    assert "…" + made["hint"] in (await emberbox("keys", "list")).out
    assert (await emberbox("keys", "rotate", made["id"], "--grace", "3600")).out.count("ember_") == 1
    refused = await emberbox("submit", "-c", "1", "-r", "python", EMBERBOX_API_KEY=made["secret"])
    assert (refused.code, refused.out, "'run'" in refused.err) == (2, "", True)
    update = ("keys", "update", made["id"])
    changed = await emberbox(*update, "--name", "ci 2", "--scope", "run", "--forever")
    assert all(told in changed.out for told in ("ci 2", "read run", "active"))
    limited = json.loads((await emberbox(*update, "--quota", "queued_jobs=7", "--days", "3", "--json")).out)
    assert (limited["name"], limited["quota"]) == ("ci 2", {"queued_jobs": 7})
    assert limited["expires_at"] is not None
    both = await emberbox(*update, "--days", "3", "--forever")
    assert (both.code, "--forever" in both.err) == (2, True)
    assert "suspended" in (await emberbox("keys", "suspend", made["id"])).out
    resting = await emberbox("jobs", "list", EMBERBOX_API_KEY=made["secret"])
    assert (resting.code, "suspended" in resting.err) == (2, True)
    assert "until" in (await emberbox("keys", "resume", made["id"])).out
    assert "revoked" in (await emberbox("keys", "revoke", made["id"], "--running", "keep")).out
    team = json.loads((await emberbox("teams", "create", "data", "--quota", "queued_jobs=7", "--json")).out)
    assert team["quota"] == {"queued_jobs": 7}
    assert "data" in (await emberbox("teams", "list")).out
    assert "queued_jobs=7" in (await emberbox("teams", "show", team["id"])).out
    assert "science" in (await emberbox("teams", "update", team["id"], "--name", "science")).out
    assert "usual" in (await emberbox("teams", "update", team["id"], "--usual-quota")).out
    assert team["id"] in (await emberbox("keys", "create", "theirs", "--team", team["id"])).out
    assert "theirs" in (await emberbox("keys", "list", "--team", team["id"])).out
    assert (await emberbox("jobs", "list", "--team", "all")).code == 0
    assert "admin" in (await emberbox("keys", "me")).out
    hook = json.loads(
        (await emberbox("webhooks", "create", "http://127.0.0.1:9/x", "--event", "job.failed", "--json")).out
    )
    assert hook["id"] in (await emberbox("webhooks", "list")).out
    assert "no" in (await emberbox("webhooks", "update", hook["id"], "--off")).out
    assert (await emberbox("webhooks", "update", hook["id"], "--on", "--json")).code == 0
    sent = json.loads((await emberbox("webhooks", "test", hook["id"], "--json")).out)
    assert sent["id"] in (await emberbox("webhooks", "deliveries", hook["id"])).out
    assert (await emberbox("webhooks", "delete", hook["id"])).code == 0
    assert (await emberbox("usage")).out.startswith("DAY")
    assert json.loads((await emberbox("usage", "--json")).out)["jobs"] == 0
    assert "ready" in (await emberbox("status")).out
    assert json.loads((await emberbox("status", "--json")).out)["node"]["state"] == "ready"


async def test_machines(emberbox: Command, served: Served, tmp_path: Path) -> None:
    assert (await emberbox("machines", "list")).out == ""
    (tmp_path / "console.log").write_text("first\npanic \x1b[2J\n")
    (tmp_path / "vmm.log").write_text("a warning\n")
    spec = MachineSpec(
        id="m-1", run_dir=tmp_path, vcpus=1, memory_mib=64, kernel=tmp_path, initramfs=tmp_path
    )
    place = served.service.engine.book.enter(spec, UndoStack(), runtime="bash", source="cold")
    place.blame(BootFailed("its kernel panicked"))
    await place.leave()
    listed = await emberbox("machines", "list")
    assert listed.out.startswith("ID")
    assert "its kernel panicked" in listed.out
    assert json.loads((await emberbox("machines", "list", "--json")).out)[0]["state"] == "exited"
    assert (await emberbox("machines", "console", "m-1")).out == "first\npanic \\x1b[2J\n"
    assert (await emberbox("machines", "console", "m-1", "--tail", "1")).out == "panic \\x1b[2J\n"
    assert (await emberbox("machines", "log", "m-1")).out == "a warning\n"
    gone = await emberbox("machines", "log", "m-2")
    assert (gone.code, gone.out) == (2, "")
    assert gone.err.startswith("emberbox: there is no such machine")


async def test_login(emberbox: Command, served: Served, tmp_path: Path) -> None:
    unset: dict[str, Any] = {"EMBERBOX_SERVER": "", "EMBERBOX_API_KEY": ""}
    done = await emberbox(
        "login",
        "--server",
        served.url,
        "--key-stdin",
        "--profile",
        "here",
        stdin=served.secret.encode(),
        **unset,
    )
    assert done.code == 0, done.err
    assert served.secret not in done.out + done.err
    path = tmp_path / "home/.config/emberbox/profiles.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "here" in (await emberbox("profiles", "list", **unset)).out
    assert served.secret not in (await emberbox("profiles", "list", "--json", **unset)).out
    assert "ready" in (await emberbox("status", **unset)).out
    assert (await emberbox("status", "--profile", "here", EMBERBOX_SERVER="http://127.0.0.1:1")).code == 0
    assert (await emberbox("profiles", "forget", "here", **unset)).code == 0
    wrong = await emberbox("login", "--server", served.url, "--key-stdin", stdin=b"ember_wrong", **unset)
    assert (wrong.code, path.read_text().count("api_key")) == (2, 0)


async def test_a_service_on_this_machine_is_found(emberbox: Command, served: Served, tmp_path: Path) -> None:
    data = tmp_path / "here"
    with ServiceFolder.claim(data) as folder:
        folder.keep_admin_key(served.secret)
        folder.announce(served.url, "1")
        unset: dict[str, Any] = {"EMBERBOX_SERVER": "", "EMBERBOX_API_KEY": ""}
        assert str(data) in (await emberbox("status", **unset, EMBERBOX_DATA=str(data))).out
        assert (await emberbox("--data", str(data), "status", **unset)).code == 0
    # Not always 69: another service may listen on the usual port of this machine.
    assert (await emberbox("--data", str(data), "status", **unset)).code != 0


async def test_mistakes(emberbox: Command) -> None:
    assert (await emberbox("submit", "nothing.py")).code == 2
    assert (await emberbox("submit")).code == 2
    assert (await emberbox("jobs", "list", "--status", "nonsense")).code == 2
    assert (await emberbox("logs", "job_x", "--stream", "both")).code == 2
    quota = await emberbox("keys", "create", "x", "--quota", "jobs=1")
    assert (quota.code, "concurrent_jobs" in quota.err) == (2, True)
    nobody = await emberbox("status", "--server", "http://127.0.0.1:1")
    assert (nobody.code, nobody.out, "emberbox serve" in nobody.err) == (69, "", True)


async def test_what_submit_cannot_take_is_told_how_to_hand_in(emberbox: Command, tmp_path: Path) -> None:
    (tmp_path / "my folder").mkdir()
    (tmp_path / "two.ZIP").write_bytes(b"PK")
    folder = await emberbox("submit", "my folder")
    assert (folder.code, "emberbox scripts upload 'my folder'" in folder.err) == (2, True)
    archive = await emberbox("submit", "two.ZIP")
    assert (archive.code, "emberbox scripts upload two.ZIP" in archive.err) == (2, True)
    for words in (("-",), ("-c", "print(1)")):
        unnamed = await emberbox("submit", *words, stdin=b"print(1)")
        assert (unnamed.code, "--runtime" in unnamed.err) == (2, True)


async def test_a_reader_of_a_followed_log_may_go_away(
    client: AsyncClient, environment: dict[str, str], tmp_path: Path
) -> None:
    job = await client.run("seq 100000", runtime="bash")
    command = (sys.executable, "-m", "emberbox.cli.main", "logs", "-f", job.id)
    reader, writer = os.pipe()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=writer, stderr=pipe, cwd=tmp_path, env=environment
    )
    os.close(writer)
    await asyncio.to_thread(os.read, reader, 1)
    os.close(reader)
    async with asyncio.timeout(PATIENCE_S):
        _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def _started(client: AsyncClient) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async for job in client.jobs.list(status="running"):
                if job.stdout_bytes or [entry async for entry in client.jobs.logs(job.id)]:
                    return job.id
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("words", [("--wait",), ("--wait", "--json")])
async def test_an_interrupt_cancels_the_job(
    client: AsyncClient, environment: dict[str, str], tmp_path: Path, words: tuple[str, ...]
) -> None:
    command = (
        sys.executable,
        "-m",
        "emberbox.cli.main",
        "submit",
        "-c",
        "echo begun; sleep 60",
        "-r",
        "bash",
        *words,
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, cwd=tmp_path, env=environment
    )
    job_id = await _started(client)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (130, f"emberbox: asked the server to cancel {job_id}\n")
    assert out.decode() == ("" if "--json" in words else "begun\n")
    assert (await client.jobs.wait(job_id, timeout_s=PATIENCE_S)).status is JobStatus.CANCELLED


async def test_an_interrupt_of_logs_leaves_the_job_alone(
    client: AsyncClient, environment: dict[str, str], tmp_path: Path
) -> None:
    job = await client.jobs.submit("echo begun; sleep 60", runtime="bash")
    command = (sys.executable, "-m", "emberbox.cli.main", "logs", "-f", job.id)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=pipe, cwd=tmp_path, env=environment
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert (process.returncode, "goes on" in err.decode()) == (130, True)
    assert (await client.jobs.get(job.id)).status is JobStatus.RUNNING
    await client.jobs.cancel(job.id)


async def test_a_reader_that_goes_away_ends_the_job(
    client: AsyncClient, environment: dict[str, str], tmp_path: Path
) -> None:
    code = "while true; do echo line; sleep 0.05; done"
    command = (sys.executable, "-m", "emberbox.cli.main", "submit", "-c", code, "-r", "bash", "--wait")
    reader, writer = os.pipe()
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=writer, stderr=pipe, cwd=tmp_path, env=environment
    )
    os.close(writer)
    job_id = await _started(client)
    os.close(reader)
    async with asyncio.timeout(PATIENCE_S):
        _, err = await process.communicate()
    assert process.returncode == 141, err.decode()
    assert (await client.jobs.wait(job_id, timeout_s=PATIENCE_S)).status is JobStatus.CANCELLED
