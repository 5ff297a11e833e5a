"""A real service process with two tenants: one who works, and one who may do its worst."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
WORKERS = 4
"""Jobs at once of the service under attack; half of them for who works alone."""
ON_HOST = ("-m", "tests.integration.serve_on_host")
"""Programs are plain processes of this host: for all in which the VM does not matter."""
ON_VMS = ("-m", "emberbox.cli.main", "serve")
"""Programs are in microVMs."""
CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=50)


class Tenant:
    """One team with a key.

    Args:
        url: The service's.
        secret: The key's.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.secret = secret
        self.answers: Counter[int] = Counter()
        self.through = 0
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=PATIENCE_S,
            limits=CONNECTIONS,
        )

    async def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """Make one request and count its answer."""
        answer = await self.http.request(method, path, **options)  # type: ignore[arg-type]
        self.answers[answer.status_code] += 1
        return answer

    async def submit(self, code: str, **options: object) -> httpx.Response:
        """Submit a job of the shell."""
        return await self.ask("POST", "/v1/jobs", json={"runtime": "bash", "code": code, **options})

    async def run(self, code: str, **options: object) -> dict[str, object]:
        """Run a job of the shell to its end, which must be a good one; returns it."""
        answer = await self.submit(code, **options)
        if answer.status_code != 202:
            raise RuntimeError(f"refused: {answer.text}")
        job: dict[str, object] = answer.json()
        async with asyncio.timeout(PATIENCE_S):
            while job["status"] in ("queued", "running"):
                job = (await self.ask("GET", f"/v1/jobs/{job['id']}", params={"wait": 60})).json()
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job ended as {job['status']}: {job['message']}")
        return job


@contextlib.asynccontextmanager
async def running_service(
    data: Path,
    program: Sequence[str],
    images: Path | None,
    settings: Mapping[str, str] | None = None,
    *,
    attacked: bool,
) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Run a service; yields who works, of its first team, and who attacks, of another if it is attacked.

    A job of the first has ended: the template that all jobs need is there.
    """
    data.mkdir(parents=True)
    if images is not None:
        (data / "images").symlink_to(images)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*program, "--port", "0", "--data", str(data)),
        cwd=ROOT,
        env=_environment(data, WORKERS if attacked else WORKERS // 2, settings or {}),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = await _announced(data, process)
        async with contextlib.AsyncExitStack() as stack:
            operator = Tenant(url, (data / "admin.key").read_text().strip())
            stack.push_async_callback(operator.http.aclose)
            good = Tenant(url, await _key(operator, None))
            stack.push_async_callback(good.http.aclose)
            await good.run("true")
            bad = good
            if attacked:
                bad = Tenant(url, await _key(operator, "attackers"))
                stack.push_async_callback(bad.http.aclose)
            yield good, bad
    finally:
        await _ended(process)


def _environment(data: Path, workers: int, settings: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX_")}
    empty = data.parent / "no-settings.toml"
    empty.touch()
    return {
        **own,
        "EMBERBOX_CONFIG": str(empty),
        "EMBERBOX_WORKER_CONCURRENCY": str(workers),
        "EMBERBOX_WORKER_DRAIN_S": "0",
        "EMBERBOX_WEBHOOKS_ALLOW_PRIVATE": "true",
        **settings,
    }


async def _announced(data: Path, process: asyncio.subprocess.Process) -> str:
    """Wait until a service says where it is."""
    async with asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                about = json.loads((data / "service.json").read_text())
                if about["pid"] == process.pid:
                    return str(about["url"])
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the service ended with {process.returncode} before it served")


async def _key(operator: Tenant, team: str | None) -> str:
    body: dict[str, object] = {"name": "tenant", "scopes": ["run"]}
    if team is not None:
        made = await operator.ask("POST", "/v1/teams", json={"name": team})
        body["team_id"] = made.raise_for_status().json()["id"]
    answer = (await operator.ask("POST", "/v1/keys", json=body)).raise_for_status()
    return str(answer.json()["secret"])


async def _ended(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
