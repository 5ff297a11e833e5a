"""Run as a program: an engine that never rests, to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from emberbox import Engine, Settings
from emberbox.config import PoolSettings
from tests.e2e.drivers.kinds import KINDS


async def main(kind: str, data: str) -> None:
    """Run programs with the driver until the end."""
    settings = Settings(data=Path(data), vmm=KINDS[kind].settings(), pool=PoolSettings(maximum=2, minimum=1))
    async with Engine(settings) as engine:
        print("up", flush=True)  # noqa: T201
        while True:
            await asyncio.gather(
                *(engine.run("print(1)", runtime="python") for _ in range(3)), return_exceptions=True
            )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
