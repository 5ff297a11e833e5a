"""One team's uploads do not take the threads that open those of others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from emberbox.service.service import Service


async def test_a_team_opens_one_at_a_time_and_keeps_no_other_waiting(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    team = await service.teams.create("other")
    ours, secret = await service.keys.create("ours", ["run"])
    _, other_secret = await service.keys.create("theirs", ["run"], team_id=team.id)

    async def upload(of: str) -> int:
        headers = {"Authorization": f"Bearer {of}"}
        answer = await app_client.post(
            "/v1/scripts", files={"file": ("a.sh", b"true")}, headers=headers, timeout=None
        )
        return answer.status_code

    async with service.scripts.turn(ours):
        waiting = asyncio.create_task(upload(secret))
        assert await upload(other_secret) == 201
        await asyncio.wait({waiting}, timeout=0.3)
        assert not waiting.done()
    assert await waiting == 201
