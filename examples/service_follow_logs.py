"""Starts several jobs at once and shows their output as it is written, each line behind its job's name.

python examples/service_follow_logs.py
"""

import asyncio

from emberbox import AsyncClient

CODE = """
import sys, time
for step in range(3):
    print("step", step, flush=True)
    time.sleep(0.2)
print("done", file=sys.stderr)
"""


async def follow(client: AsyncClient, name: str) -> bool:
    """Run the code as a job and print what it writes.

    A connection that breaks is made anew, and no line is lost.
    """
    job = await client.jobs.submit(CODE, runtime="python", name=name)
    async for entry in client.jobs.logs(job.id, follow=True):
        for line in entry.data.splitlines():
            print(f"{name} {entry.stream}: {line}")
    return (await client.jobs.wait(job.id)).ok


async def main() -> int:
    """Follow three jobs."""
    async with AsyncClient() as client:
        ended_well = await asyncio.gather(*(follow(client, name) for name in ("one", "two", "three")))
    print(f"{sum(ended_well)} of {len(ended_well)} succeeded")
    return 0 if all(ended_well) else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
