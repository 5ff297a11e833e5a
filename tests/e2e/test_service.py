"""The service on real VMs, from HTTP to a guest and back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox import Engine
from tests.e2e.conftest import run_entries, vmm_processes
from tests.e2e.services import ServiceProcess, service_folder
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox import Settings
    from emberbox.images import ImageStore

WAIT = {"wait": "300"}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """The service keeps VMs ready between the tests: what it leaves is looked at when it has ended."""


@pytest.fixture(scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory, data_folder: Path, settings: Settings, images: ImageStore
) -> AsyncIterator[ServiceProcess]:
    async with Engine(settings) as engine:
        for runtime in ("python", "bash"):
            await engine.template(runtime)
    service = ServiceProcess(
        service_folder(tmp_path_factory.mktemp("service") / "data", data_folder), EMBERBOX_POOL_MAXIMUM="2"
    )
    await service.start()
    await service.ready()
    yield service
    assert await service.stop() == 0
    await service.end()
    assert vmm_processes(service.data) == set()
    assert run_entries(service.data) == set()


@pytest.fixture
async def client(served: ServiceProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with served.client(await served.ready()) as client:
        client.timeout = httpx.Timeout(2 * PATIENCE_S)
        yield client


async def run(
    client: httpx.AsyncClient, code: str, runtime: str = "python", **options: Any
) -> dict[str, Any]:
    body = {"runtime": runtime, "code": code, "timeout_s": PATIENCE_S, **options}
    answer = await client.post("/v1/jobs", json=body, params=WAIT)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


async def test_a_program_in_a_vm_of_its_own(client: httpx.AsyncClient) -> None:
    job = await run(
        client,
        "import os, sys; print(os.uname().nodename, sys.argv[1:]); print('oh', file=sys.stderr)",
        args=["a b"],
    )
    assert (job["status"], job["exit_code"], job["stderr"]) == ("succeeded", 0, "oh\n")
    assert job["stdout"].startswith("ember-")
    assert job["stdout"].endswith("['a b']\n")
    assert job["metrics"]["source"] in ("pool", "clone")
    again = await run(client, "import os; print(os.uname().nodename)")
    assert again["stdout"].split()[0] != job["stdout"].split()[0]


@pytest.mark.parametrize(
    ("code", "options", "status", "reason"),
    [
        ("raise SystemExit(3)", {}, "failed", "exited"),
        ("import os; os.kill(os.getpid(), 11)", {}, "failed", "signalled"),
        ("while True: pass", {"timeout_s": 1}, "timed_out", "timeout"),
        ("while True: pass", {"cpu_s": 0.5}, "failed", "cpu_limit"),
        ("x = bytearray(10**9)", {"memory_mib": 128}, "failed", "exited"),
        ("print('x' * 10**6)", {"output_bytes": 10_000}, "failed", "output_limit"),
    ],
)
async def test_how_programs_end(
    client: httpx.AsyncClient, code: str, options: dict[str, Any], status: str, reason: str
) -> None:
    job = await run(client, code, **options)
    # Linux may kill a memory bomb before Python can say that there is no memory.
    assert (job["status"], job["reason"]) in ((status, reason), ("failed", "out_of_memory")), job


async def test_an_upload_with_folders_its_artifacts_and_its_log(client: httpx.AsyncClient) -> None:
    files = [
        (
            "file",
            (
                "main.py",
                b"from lib.tools import shout\nopen('out.txt', 'w').write(shout(input()))\nprint('written')",
            ),
        ),
        ("file", ("lib/tools.py", b"def shout(text):\n    return text.upper()\n")),
    ]
    script = (await client.post("/v1/scripts", files=files)).json()
    assert (script["runtime"], script["entry"], script["file_count"]) == ("python", "main.py", 2)
    answer = await client.post(
        f"/v1/scripts/{script['id']}/run",
        json={"stdin": "hey", "artifacts": ["*.txt"], "timeout_s": PATIENCE_S},
        params=WAIT,
    )
    job = answer.json()
    assert (job["status"], job["stdout"]) == ("succeeded", "written\n"), job
    (artifact,) = job["artifacts"]
    assert (await client.get(f"/v1/jobs/{job['id']}/artifacts/{artifact['id']}")).content == b"HEY"
    assert (await client.get(f"/v1/jobs/{job['id']}/logs", params={"format": "text"})).text == "written\n"


async def test_output_is_followed_while_the_program_runs(client: httpx.AsyncClient) -> None:
    code = "import sys\nfor line in sys.stdin: print('got', line, end='', flush=True)"
    job = (
        await client.post("/v1/jobs", json={"runtime": "python", "code": code, "interactive": True})
    ).json()
    import websockets

    secret = client.headers["Authorization"].removeprefix("Bearer ")
    url = str(client.base_url).replace("http", "ws").rstrip("/")
    async with websockets.connect(
        f"{url}/v1/jobs/{job['id']}/stream", additional_headers={"Authorization": f"Bearer {secret}"}
    ) as socket:
        for word in ("one", "two"):
            await socket.send(json.dumps({"type": "stdin", "data": f"{word}\n"}))
            message = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            assert (message["type"], message["data"]) == ("output", f"got {word}\n")
        await socket.send(json.dumps({"type": "close_stdin"}))
        async for text in socket:
            message = json.loads(text)
        assert (message["type"], message["job"]["status"]) == ("end", "succeeded")


async def test_a_running_program_is_cancelled(client: httpx.AsyncClient) -> None:
    job = (
        await client.post(
            "/v1/jobs", json={"runtime": "python", "code": "print('up', flush=True)\nwhile True: pass"}
        )
    ).json()
    async with client.stream("GET", f"/v1/jobs/{job['id']}/logs", params={"follow": "true"}) as events:
        async for line in events.aiter_lines():
            if line.startswith("data:") and "up" in line:
                assert (await client.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    ended = (await client.get(f"/v1/jobs/{job['id']}")).json()
    assert (ended["status"], ended["stdout"]) == ("cancelled", "up\n")


async def test_many_at_once(client: httpx.AsyncClient) -> None:
    jobs = await asyncio.gather(*(run(client, f"print({number} * 2)") for number in range(12)))
    assert [job["stdout"] for job in jobs] == [f"{number * 2}\n" for number in range(12)]


async def test_a_second_service_says_so_and_stops(served: ServiceProcess) -> None:
    second = ServiceProcess(served.data)
    second.log = served.data.parent / "second.log"
    await second.start()
    assert second._process is not None
    assert await asyncio.wait_for(second._process.wait(), PATIENCE_S) != 0
    assert "a service runs on" in second.log.read_text()
    assert str(served.pid) in second.log.read_text()
