"""Run as a program: an engine that rests with VMMs that wait for their guest, to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from emberbox import Engine, Settings
from emberbox.config import PoolSettings
from tests.e2e.drivers.kinds import KINDS


async def main(kind: str, data: str) -> None:
    """Run two programs, wait until both standbys are there, and do nothing more."""
    settings = Settings(
        data=Path(data), vmm=KINDS[kind].settings(), pool=PoolSettings(standby=2, standby_idle_s=600)
    )
    async with Engine(settings) as engine:
        for _ in range(2):
            await engine.run("print(1)", runtime="python")
        while engine.standbys().ready < settings.pool.standby:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        print("waiting", flush=True)  # noqa: T201
        await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
