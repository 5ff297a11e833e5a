"""`emberbox serve` as a process: its start, its marks, its signals, and its end, however that comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT = Path(__file__).parents[3]


class Serving:
    """A service's process."""

    def __init__(self, data: Path, process: asyncio.subprocess.Process) -> None:
        self.data = data
        self.process = process
        self.output: tuple[str, str] = ("", "")

    @classmethod
    async def start(cls, data: Path, *words: str, up: bool = True, **environment: str) -> Serving:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.serve_on_host",
            "--port",
            "0",
            "--data",
            str(data),
            *words,
            cwd=ROOT,
            env={**variables, "EMBERBOX_CONFIG": str(_no_settings(data)), **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        serving = cls(data, process)
        if up:
            await serving.up()
        return serving

    async def up(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self._announced():
            if self.process.returncode is not None or time.monotonic() > deadline:
                out, err = await self.process.communicate()
                raise AssertionError(f"did not start: {out.decode()}{err.decode()}")
            await asyncio.sleep(0.02)

    def _announced(self) -> bool:
        try:
            return bool(json.loads((self.data / "service.json").read_text())["pid"] == self.process.pid)
        except (FileNotFoundError, ValueError):
            return False

    @property
    def url(self) -> str:
        return str(json.loads((self.data / "service.json").read_text())["url"])

    def client(self) -> httpx.AsyncClient:
        key = (self.data / "admin.key").read_text().strip()
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S
        )

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE_S)
        self.output = (out.decode(), err.decode())
        assert self.process.returncode is not None
        return self.process.returncode


def _no_settings(data: Path) -> Path:
    file = data.parent / "none.toml"
    file.touch()
    return file


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start services that are ended with the test."""
    started: list[Serving] = []

    async def start(*words: str, data: Path | None = None, **options: Any) -> Serving:
        serving = await Serving.start(data or tmp_path / "data", *words, **options)
        started.append(serving)
        return serving

    yield start
    for serving in started:
        if serving.process.returncode is None:
            serving.process.kill()
            await serving.process.communicate()


def _sleeper(seconds: float) -> dict[str, Any]:
    return {"runtime": "bash", "code": f"echo begun; sleep {seconds}; echo done"}


def _waiter(gate: Path) -> dict[str, Any]:
    """A job that ends when the file is there."""
    return {"runtime": "bash", "code": f"echo begun; until [ -e {gate} ]; do sleep 0.02; done; echo done"}


async def _until_stopping(client: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(PATIENCE_S):
        while (answer := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return answer


async def _ended(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            job: dict[str, Any] = (await client.get(f"/v1/jobs/{job_id}?wait=180")).json()
            if job["status"] not in ("queued", "running"):
                return job


async def _submit(client: httpx.AsyncClient, body: dict[str, Any]) -> str:
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def _until_running(client: httpx.AsyncClient, job_id: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (job := (await client.get(f"/v1/jobs/{job_id}")).json())["times"]["started_at"] is None:
            assert job["status"] in ("queued", "running")
            await asyncio.sleep(0.02)


async def test_it_starts_without_configuration_and_runs_a_job(serve: Callable[..., Any]) -> None:
    service = await serve()
    async with service.client() as client:
        assert (await client.get("/readyz")).json()["checks"] == {
            "database": "ok",
            "blobs": "ok",
            "engine": "ok",
            "disk": "ok",
            "ends": "ok",
        }
        job = (
            await client.post("/v1/jobs?wait=180", json={"runtime": "bash", "code": "echo $((6*7))"})
        ).json()
        assert (job["status"], job["stdout"]) == ("succeeded", "42\n")
    assert await service.end() == 0
    out, err = service.output
    assert f"Emberbox is ready at {'http://127.0.0.1:'}" in out
    assert "admin.key" in out
    assert "to build" in out
    assert not (service.data / "service.json").exists()
    assert "Traceback" not in err


async def test_it_runs_on_postgresql(serve: Callable[..., Any], postgresql_url: str) -> None:
    url = postgresql_url.replace("+asyncpg", "")
    service = await serve(EMBERBOX_STORE_URL=url)
    async with service.client() as client:
        assert (await client.get("/v1/node")).json()["database"] == "postgresql"
        job = (
            await client.post("/v1/jobs?wait=180", json={"runtime": "bash", "code": "echo $((6*7))"})
        ).json()
        assert (job["status"], job["stdout"]) == ("succeeded", "42\n")
    assert await service.end() == 0
    assert not (service.data / "service.db").exists()


async def test_idle_it_is_small(serve: Callable[..., Any]) -> None:
    service = await serve()
    async with service.client() as client:
        for _ in range(20):
            await client.get("/v1/jobs")
        used = (await client.get("/v1/node")).json()["capacity"]["service_memory_bytes"]
    assert used < 120 * 1024 * 1024


async def test_a_database_that_is_not_there_is_named(serve: Callable[..., Any], tmp_path: Path) -> None:
    service = await serve(up=False, EMBERBOX_STORE_URL=f"postgresql://user:hunter2@/x?host={tmp_path}")
    assert await service.ended() == 70
    assert "store.url" in service.output[1]
    assert "hunter2" not in service.output[1]


async def test_a_blob_store_that_refuses_the_credentials_is_told_in_the_log(
    serve: Callable[..., Any],
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    aws = {"AWS_ACCESS_KEY_ID": "access", "AWS_SECRET_ACCESS_KEY": "hidden-secret", "AWS_REGION": "us-east-1"}
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server, asyncio.timeout(PATIENCE_S):
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        service = await serve(EMBERBOX_BLOBS_URL="s3://bucket", EMBERBOX_BLOBS_ENDPOINT=endpoint, **aws)
        told = await service.process.stderr.readuntil(b"blobs is not well")
        told += await service.process.stderr.readline()
    assert b"credentials" in told
    assert b"hidden-secret" not in told
    assert await service.end() == 0


async def test_the_admin_key_is_made_once_and_told_to_no_log(serve: Callable[..., Any]) -> None:
    service = await serve()
    file = service.data / "admin.key"
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (service.data / "service.json").stat().st_mode & 0o777 == 0o600
    assert (service.data / "service.db").stat().st_mode & 0o777 == 0o600
    assert await service.end() == 0
    assert key not in "".join(service.output)
    again = await serve()
    assert file.read_text().strip() == key
    async with again.client() as client:
        assert len((await client.get("/v1/keys")).json()["items"]) == 1
    assert await again.end() == 0


async def test_a_lost_admin_key_is_made_anew_when_asked(serve: Callable[..., Any]) -> None:
    service = await serve()
    async with service.client() as client:
        assert (await client.get("/v1/node")).status_code == 200
    await service.client().aclose()
    await asyncio.sleep(0)
    (service.data / "admin.key").rename(service.data / "kept")
    assert await service.end() == 0
    silent = await serve()
    assert not (silent.data / "admin.key").exists()
    assert await silent.end() == 0
    assert "--new-admin-key" in silent.output[0]
    renewed = await serve("--new-admin-key")
    async with renewed.client() as client:
        assert (await client.get("/v1/keys")).status_code == 200
    assert (renewed.data / "admin.key").read_text() != (renewed.data / "kept").read_text()


async def test_a_second_service_says_who_has_the_folder(serve: Callable[..., Any]) -> None:
    first = await serve()
    second = await serve(up=False)
    assert await second.ended() == 70
    assert f"process {first.process.pid}, at {first.url}" in second.output[1]
    async with first.client() as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_a_taken_port_is_named(serve: Callable[..., Any], tmp_path: Path) -> None:
    first = await serve()
    port = first.url.rpartition(":")[2]
    second = await serve("--port", port, data=tmp_path / "other", up=False)
    assert await second.ended() == 2
    assert f"port {port}: Address already in use;" in second.output[1]
    assert "--port" in second.output[1]


async def test_sigterm_lets_jobs_end(serve: Callable[..., Any]) -> None:
    service = await serve()
    async with service.client() as client:
        gate = service.data.parent / "gate"
        job_id = await _submit(client, _waiter(gate))
        await _until_running(client, job_id)
        waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}?wait=180"))
        await asyncio.sleep(0.1)
        service.process.send_signal(signal.SIGTERM)
        not_ready = await _until_stopping(client)
        assert (not_ready.status_code, not_ready.json()["code"]) == (503, "service_stopping")
        refused = await client.post("/v1/jobs", json=_sleeper(0))
        assert (refused.status_code, refused.json()["code"]) == (503, "service_stopping")
        assert (await client.get("/healthz")).status_code == 200
        gate.touch()
        assert (await waiting).json()["status"] == "succeeded"
    assert await service.ended() == 0
    assert "Traceback" not in service.output[1]


async def test_jobs_that_do_not_end_in_time_are_handed_back_and_followers_let_go(
    serve: Callable[..., Any],
) -> None:
    service = await serve(EMBERBOX_WORKER_DRAIN_S="0.5")
    async with service.client() as client:
        gate = service.data.parent / "gate"
        job_id = await _submit(client, _waiter(gate))
        await _until_running(client, job_id)
        waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}?wait=180"))
        seen = b""
        async with client.stream("GET", f"/v1/jobs/{job_id}/logs?follow=true") as stream:
            service.process.send_signal(signal.SIGTERM)
            # A stream that is cut off instead of ended raises here.
            async for chunk in stream.aiter_bytes():
                seen += chunk
        assert b"begun" in seen
        assert b"event: end" not in seen
        assert (await waiting).json()["status"] == "queued"
    assert await service.ended() == 0
    gate.touch()
    again = await serve()
    async with again.client() as client:
        job = await _ended(client, job_id)
        assert (job["status"], job["attempt"], job["stdout"]) == ("succeeded", 2, "begun\ndone\n")


async def test_websockets_are_closed_and_told_why(serve: Callable[..., Any]) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    service = await serve(EMBERBOX_WORKER_DRAIN_S="0.5")
    async with service.client() as client:
        job_id = await _submit(client, {"runtime": "bash", "code": "echo begun; cat", "interactive": True})
        await _until_running(client, job_id)
        key = client.headers["Authorization"]
    address = f"{service.url.replace('http', 'ws')}/v1/jobs/{job_id}/stream"
    async with connect(address, additional_headers={"Authorization": key}) as stream:
        await asyncio.wait_for(stream.recv(), PATIENCE_S)
        service.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    await stream.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert await service.ended() == 0
    assert "Traceback" not in service.output[1]


async def test_a_second_signal_ends_it_at_once(serve: Callable[..., Any]) -> None:
    service = await serve(EMBERBOX_WORKER_DRAIN_S="3600")
    async with service.client() as client:
        job_id = await _submit(client, _sleeper(3600))
        await _until_running(client, job_id)
        service.process.send_signal(signal.SIGINT)
        await _until_stopping(client)
    assert service.process.returncode is None
    assert await service.end(signal.SIGINT) == 130


async def test_a_killed_service_starts_again_and_loses_nothing(serve: Callable[..., Any]) -> None:
    service = await serve()
    async with service.client() as client:
        ids = [await _submit(client, _sleeper(1)) for _ in range(6)]
        await _until_running(client, ids[0])
    assert await service.end(signal.SIGKILL) == -9
    again = await serve()
    async with again.client() as client:
        for job_id in ids:
            job = await _ended(client, job_id)
            assert (job["status"], job["stdout"]) == ("succeeded", "begun\ndone\n")
    assert await again.end() == 0


async def test_file_environment_and_flags_set_it(serve: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[worker]\nconcurrency = 3\ndrain_s = 1\n[server]\nwait_s = 7\n[retention]\nfree_mib = 1\n"
    )
    service = await serve(
        "--workers", "5", "--log-format", "json", EMBERBOX_CONFIG=str(file), EMBERBOX_WORKER_DRAIN_S="2"
    )
    async with service.client() as client:
        node = (await client.get("/v1/node")).json()
        assert [worker["concurrency"] for worker in node["workers"]] == [5]
    assert await service.end() == 0
    lines = [json.loads(line) for line in service.output[1].splitlines()]
    assert {"service.started", "service.stopping"} <= {line["action"] for line in lines}
    assert all({"time", "level", "message", "logger"} <= line.keys() for line in lines)


@pytest.mark.parametrize(
    "words",
    [["--port", "70000"], ["--log-format", "xml"], ["--workers", "0"], ["--host", "no.such.host.invalid"]],
)
async def test_mistakes_end_it_with_2(serve: Callable[..., Any], words: list[str]) -> None:
    service = await serve(*words, up=False)
    assert await service.ended() == 2
    assert words[0] in service.output[1] or "cannot listen" in service.output[1]
    assert "Traceback" not in service.output[1]


async def test_systemd_hears_of_it(serve: Callable[..., Any], tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        service = await serve(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        ready = await asyncio.to_thread(listener.recv, 4096)
        assert ready.startswith(b"READY=1\nSTATUS=Ready at http://127.0.0.1:")
        assert await asyncio.to_thread(listener.recv, 4096) == b"WATCHDOG=1"
        assert await asyncio.to_thread(listener.recv, 4096) == b"WATCHDOG=1"
        assert await service.end() == 0
        received: list[bytes] = []
        while not received or not received[-1].startswith(b"STOPPING=1"):
            received.append(await asyncio.to_thread(listener.recv, 4096))
