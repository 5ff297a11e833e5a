"""What takes long of one team's uploads, and what another team waits for meanwhile."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import QuotaSettings
from emberbox.service.uploads import archives, intake
from emberbox.service.uploads.heavy import SMALL_BYTES
from tests.integration.jobs.conftest import Caller
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import httpx

    from emberbox.config import Settings
    from emberbox.service.service import Service

LOOP_THREADS = 32
"""As many threads as the loop has at most for what blocks."""
HELD = "held.txt"


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    """A service whose teams may have so much on its way that it takes all threads."""
    return replace(service_settings, quota=QuotaSettings(open_bodies=4 * LOOP_THREADS))


class Hold:
    """Holds the unpacking of archives that hold `HELD`, each in its thread."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.inside = 0
        self.most = 0
        self._free = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._unpack = archives.unpack

    def unpack(self, path: Path, *arguments: Any) -> Any:
        """Unpack an archive, after the hold."""
        if HELD.encode() in path.read_bytes():
            self._loop.call_soon_threadsafe(self._enter)
            self._free.wait(PATIENCE_S)
            self._loop.call_soon_threadsafe(self._leave)
        return self._unpack(path, *arguments)

    def _enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.begun.set()

    def _leave(self) -> None:
        self.inside -= 1

    def release(self) -> None:
        """Let all go on."""
        self._free.set()


@pytest.fixture
async def hold(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hold]:
    held = Hold()
    monkeypatch.setattr(intake, "unpack", held.unpack)
    yield held
    held.release()


def packed(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("main.sh", f"true # {os.urandom(4).hex()}\n")
        archive.writestr(name, "")
    return data.getvalue()


async def test_a_teams_archives_leave_other_teams_uploads_alone(
    app_client: httpx.AsyncClient, make_key: Callable[..., Awaitable[str]], hold: Hold
) -> None:
    other = await make_key("run", team="other")

    async def send(name: str, data: bytes, **headers: str) -> int:
        files = {"file": (name, data)}
        return (await app_client.post("/v1/scripts", files=files, headers=headers)).status_code

    many = [asyncio.create_task(send("a.zip", packed(HELD))) for _ in range(2 * LOOP_THREADS)]
    async with asyncio.timeout(PATIENCE_S):
        await hold.begun.wait()
    others = [
        asyncio.create_task(send("main.sh", b"true", Authorization=f"Bearer {other}")),
        asyncio.create_task(send("a.zip", packed("other.txt"), Authorization=f"Bearer {other}")),
    ]
    # What a thread does is not cancelled: it is let go on before anything can fail.
    ended, _ = await asyncio.wait(others, timeout=PATIENCE_S)
    held = [task for task in many if not task.done()]
    hold.release()
    assert set(await asyncio.gather(*many, *others)) == {201}
    assert (len(ended), len(held)) == (2, len(many)), "the other team's are stored while these are held"
    assert hold.most <= 2, "a team opens few at a time"


async def test_a_team_stores_few_large_jobs_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, inside = service.blobs.put, [0]

    async def slowly(key: str, data: Any) -> int:
        inside.append(inside[-1] + 1)
        await asyncio.sleep(0.02)
        try:
            return await put(key, data)
        finally:
            inside.append(inside[-1] - 1)

    monkeypatch.setattr(service.blobs, "put", slowly)
    key, _ = await service.keys.create("bad", ["run"])
    codes = [f"true #{os.urandom(SMALL_BYTES // 2).hex()}" for _ in range(16)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(Caller(service, key).submit(code) for code in codes))
    assert 0 < max(inside) <= 2
