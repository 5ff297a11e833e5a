"""A real service as a process of its own, on real VMs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.e2e.command import EMBERBOX, environment
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]


def service_folder(folder: Path, shared: Path) -> Path:
    """Make a data folder of its own for a service, with the images and templates of the tests."""
    folder.mkdir()
    for name in ("images", "templates", "vmm"):
        (shared / name).mkdir(exist_ok=True)
        (folder / name).symlink_to(shared / name)
    return folder


SERVE = (*EMBERBOX, "serve")
SERVE_ON_HOST = (sys.executable, "-m", "tests.integration.serve_on_host")
"""The same with the real agent on this host in the place of VMs."""


class ServiceProcess:
    """`emberbox serve`, started and killed at will.

    Args:
        data: Its data folder.
        command: How it is started, up to its options.
        settings: Environment variables.
    """

    def __init__(self, data: Path, command: Sequence[str] = SERVE, **settings: str) -> None:
        self.data = data
        self._command = command
        self.log = data / "service.log"
        self._environment = environment(**settings)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        command = [*self._command, "--port", "0", "--data", str(self.data)]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env=self._environment, cwd=ROOT
            )

    async def ready(self) -> str:
        """Wait until it answers; returns its address. Raises `EOFError` when it ended instead."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise EOFError(self.log.read_text()[-4000:])
                try:
                    told = json.loads((self.data / "service.json").read_text())
                    if told["pid"] == self._process.pid:
                        return str(told["url"])
                except (FileNotFoundError, json.JSONDecodeError):
                    pass
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    async def end(self) -> None:
        """Make sure that it is gone."""
        if self._process is not None and self._process.returncode is None:
            await self.kill()

    def client(self, url: str) -> httpx.AsyncClient:
        secret = (self.data / "admin.key").read_text().strip()
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=2 * PATIENCE_S, trust_env=False)
