"""The SDK and the commands against a server on systems that run no VMs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.client.conftest import run_program
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox.client import AsyncClient
    from tests.integration.client.conftest import Command, Done

SCRIPT = Path(__file__).with_name("elsewhere.py")
SDK = """
import asyncio, sys
import emberbox.client
from emberbox import AsyncClient, Client
with Client() as client:
    job = client.run("print(6 * 7)", runtime="python")
    print(job.status, job.stdout, end="")
async def main():
    async with AsyncClient() as client:
        followed = await client.jobs.submit("print('followed')", runtime="python")
        async for event in client.jobs.events(followed.id):
            if isinstance(event, emberbox.client.JobEnded):
                print(type(event).__name__, end=" ")
asyncio.run(main())
engine = any(name.startswith("emberbox.sandbox.") for name in sys.modules)
print("engine" if engine else "client alone", sys.platform)
"""


@pytest.fixture(params=["darwin", "win32"])
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def emberbox(system: str, environment: dict[str, str], tmp_path: Path) -> Command:
    """Run `emberbox …` as on another system."""

    async def run(*words: str, stdin: bytes = b"", **variables: str) -> Done:
        command = (sys.executable, "-I", str(SCRIPT), system, "emberbox", *words)
        return await run_program(*command, stdin=stdin, cwd=tmp_path, env={**environment, **variables})

    return run


async def test_the_sdk(system: str, environment: dict[str, str], tmp_path: Path) -> None:
    done = await run_program(
        sys.executable, "-I", str(SCRIPT), system, "-c", SDK, cwd=tmp_path, env=environment
    )
    assert done.err == ""
    assert done.out == f"succeeded 42\nJobEnded client alone {system}\n"


async def test_every_command_has_its_help(emberbox: Command) -> None:
    done = await emberbox("--help")
    assert done.code == 0 and "submit" in done.out
    for command in (
        "submit",
        "jobs",
        "logs",
        "scripts",
        "keys",
        "webhooks",
        "usage",
        "status",
        "login",
        "profiles",
    ):
        done = await emberbox(command, "--help")
        assert (done.code, done.err) == (0, ""), command


async def test_a_job_from_its_submission_to_its_files(emberbox: Command, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(
        "import sys; print(sys.argv[1:], sys.stdin.read()); open('o.txt', 'w').write('kept'); sys.exit(7)"
    )
    (tmp_path / "requirements.txt").write_text("# none\n")
    options = ("-a", "o.*", "--stdin", "-", "--requirements", "requirements.txt")
    done = await emberbox("submit", "job.py", "--wait", *options, "--", "a", stdin=b"typed")
    assert (done.code, done.out, done.err) == (7, "['a'] typed\n", "")
    listed = json.loads((await emberbox("jobs", "list", "--json")).out)
    assert [job["status"] for job in listed] == ["failed"]
    followed = await emberbox("logs", "-f", listed[0]["id"])
    assert (followed.code, followed.out, followed.err) == (7, "['a'] typed\n", "")
    assert (await emberbox("jobs", "download", listed[0]["id"], "-o", "got")).out == "got/o.txt\n"
    assert (await emberbox("status")).code == 0


async def test_input_that_is_typed_as_it_runs(emberbox: Command) -> None:
    code = "while read -r x; do echo got $x; done; echo end; exit 4"
    done = await emberbox("submit", "-i", "-c", code, "-r", "bash", stdin=b"one\ntwo\n")
    assert (done.code, done.out, done.err) == (4, "got one\ngot two\nend\n", "")


async def test_a_server_that_is_saved_and_one_that_is_not_there(
    emberbox: Command, environment: dict[str, str]
) -> None:
    url, key = environment["EMBERBOX_SERVER"], environment["EMBERBOX_API_KEY"]
    saved = await emberbox("login", "--server", url, "--key-stdin", stdin=f"{key}\n".encode())
    assert saved.code == 0, saved.err
    saved_alone = await emberbox("jobs", "list", "--json", EMBERBOX_SERVER="", EMBERBOX_API_KEY="")
    assert saved_alone.out == "[]\n"
    gone = await emberbox("jobs", "list", "--server", "http://127.0.0.1:9")
    assert gone.code == 69 and "no answer from http://127.0.0.1:9" in gone.err


async def test_ctrl_c_cancels_the_job(
    system: str, environment: dict[str, str], tmp_path: Path, client: AsyncClient
) -> None:
    command = (
        sys.executable,
        "-I",
        str(SCRIPT),
        system,
        "emberbox",
        "submit",
        "--wait",
        "-r",
        "bash",
        "-c",
        "echo on; sleep 60",
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"on\n"
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
    (job,) = [job async for job in client.jobs.list()]
    assert (await client.jobs.wait(job.id)).status == "cancelled"


async def test_what_takes_an_engine_says_where_that_runs(emberbox: Command) -> None:
    for words in (
        ("run", "-c", "print(1)", "-r", "python"),
        ("setup", "--runtime", "python"),
        ("serve", "--port", "0"),
        ("doctor",),
    ):
        done = await emberbox(*words, EMBERBOX_DATA=os.devnull)
        assert (done.code, done.err.count("\n")) == (69, 1), (words, done)
        assert "run on Linux alone" in done.err and "submit" in done.err
