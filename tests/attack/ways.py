"""Ten ways in which one tenant does its worst, each measured by the other's wait beside it.

What is promised: under attack the other waits at most twice as long as with half the workers and nobody
else. Some ways also count what the attacker got of something of which it has a share.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import time
import zipfile
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from tests.attack.arena import Arena, Outcome, timed
from tests.attack.receivers import receivers

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from tests.attack.two_tenants import Tenant

JOBS = 6
"""Jobs of the good tenant's load."""
JOB_S = 0.7
JOB = f"sleep {JOB_S}"
BODIES = 60
MIB = 1024 * 1024
_T = TypeVar("_T")


async def priority(arena: Arena) -> Outcome:
    """Submit 200 jobs at the highest priority."""

    async def attack(bad: Tenant) -> None:
        await together(*(bad.submit(JOB, priority=10) for _ in range(200)), at_once=20)
        await forever()

    return await arena.compare("priority", jobs, attack)


async def sleepers(arena: Arena) -> Outcome:
    """Submit 50 programs that sleep for as long as they may."""

    async def attack(bad: Tenant) -> None:
        await together(*(bad.submit("sleep 600") for _ in range(50)), at_once=20)
        await forever()

    return await arena.compare("sleepers", jobs, attack)


async def floods(arena: Arena) -> Outcome:
    """Submit jobs as fast as they are answered, at the highest priority."""

    async def attack(bad: Tenant) -> None:
        async def again() -> None:
            while True:
                await bad.submit(JOB, priority=10)

        await together(*(again() for _ in range(30)))

    return await arena.compare("floods", jobs, attack)


async def bodies(arena: Arena) -> Outcome:
    """Send requests whose bodies of 8 MiB come but for their last byte; count those that are not refused."""

    async def attack(bad: Tenant) -> None:
        bad.through = BODIES
        await together(*(stalled(bad, 8 * MIB) for _ in range(BODIES)))
        await forever()

    async def load(good: Tenant) -> Sequence[float]:
        padded = f"{JOB} #{'x' * 100_000}"
        return await together(*(timed(good.run(padded)) for _ in range(JOBS)))

    return await arena.compare("bodies", load, attack)


async def streams(arena: Arena) -> Outcome:
    """Follow one job that sleeps by 400 streams, beside others that are followed to their end; count them."""

    async def attack(bad: Tenant) -> None:
        job = (await bad.submit("sleep 600")).json()["id"]

        async def follow() -> None:
            async with bad.http.stream("GET", f"/v1/jobs/{job}/logs", params={"follow": "true"}) as answer:
                bad.answers[answer.status_code] += 1
                bad.through += answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    pass

        await together(*(follow() for _ in range(400)))
        await forever()

    async def load(good: Tenant) -> Sequence[float]:
        async def followed() -> None:
            job = (await good.submit(f"echo begun; {JOB}; echo ended")).raise_for_status().json()["id"]
            path = f"/v1/jobs/{job}/logs"
            async with good.http.stream("GET", path, params={"follow": "true", "format": "text"}) as answer:
                text = await answer.raise_for_status().aread()
            if text != b"begun\nended\n":
                raise RuntimeError(f"a stream ended early: {text!r}")

        return await together(*(timed(followed()) for _ in range(JOBS)))

    return await arena.compare("streams", load, attack)


async def sizes(arena: Arena) -> Outcome:
    """Submit 100 jobs, each of another size of VMs, of which no template is there."""

    async def attack(bad: Tenant) -> None:
        asked = (bad.submit(JOB, memory_mib=128 + 8 * number) for number in range(100))
        await together(*asked, at_once=20)
        await forever()

    return await arena.compare("sizes", jobs, attack)


async def builds(arena: Arena) -> Outcome:
    """Submit 100 jobs, each with another list of packages, which a build VM has to install."""

    async def attack(bad: Tenant) -> None:
        def listed(number: int) -> dict[str, object]:
            names = f"emberbox-no-such-package-{number}\n"
            return {
                "runtime": "python",
                "entry": "main.py",
                "files": {"requirements.txt": names, "main.py": ""},
            }

        asked = (bad.ask("POST", "/v1/jobs", json=listed(number)) for number in range(100))
        await together(*asked, at_once=20)
        await forever()

    return await arena.compare("builds", jobs, attack)


async def artifacts(arena: Arena) -> Outcome:
    """Leave 20 MiB behind by each of many jobs; count the MiB that are kept."""

    async def attack(bad: Tenant) -> None:
        async def again() -> None:
            while True:
                answer = await bad.submit("head -c 20971520 /dev/zero >a.bin", artifacts=["*.bin"])
                if answer.status_code == 202:
                    path = f"/v1/jobs/{answer.json()['id']}"
                    job = (await bad.ask("GET", path, params={"wait": 60})).json()
                    bad.through += sum(one["size"] for one in job["artifacts"]) // MIB

        await together(*(again() for _ in range(8)))

    async def load(good: Tenant) -> Sequence[float]:
        async def kept() -> None:
            job = await good.run(f"{JOB}; echo kept >kept.txt", artifacts=["kept.txt"])
            listed = job["artifacts"]
            if not isinstance(listed, list) or len(listed) != 1:
                raise RuntimeError(f"the artifact was not kept: {job['message']}")
            path = f"/v1/jobs/{job['id']}/artifacts/{listed[0]['id']}"
            (await good.ask("GET", path)).raise_for_status()

        return await together(*(timed(kept()) for _ in range(JOBS)))

    return await arena.compare("artifacts", load, attack)


async def uploads(arena: Arena) -> Outcome:
    """Upload archives that expand to 20 MiB, eight at a time; count those that are kept."""
    zeros = bytes(19 * MIB)

    def packed() -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("main.sh", "true\n")
            archive.writestr("data.bin", os.urandom(MIB))
            archive.writestr("zeros.bin", zeros)
        return file.getvalue()

    archives = [await asyncio.to_thread(packed) for _ in range(20)]

    async def attack(bad: Tenant) -> None:
        async def again(own: Sequence[bytes]) -> None:
            for archive in itertools.cycle(own):
                answer = await bad.ask("POST", "/v1/scripts", files={"file": ("a.zip", archive)})
                bad.through += answer.status_code == 201

        await together(*(again(archives[number::8]) for number in range(8)))

    async def load(good: Tenant) -> Sequence[float]:
        async def one(number: int) -> None:
            script = f"{JOB} #{number}".encode()
            answer = await good.ask("POST", "/v1/scripts", files={"file": ("main.sh", script)})
            answer.raise_for_status()

        waits = []
        for number in range(JOBS):
            waits.append(await timed(one(number)))
            await asyncio.sleep(1.0)  # so that the attack has its time
        return waits

    return await arena.compare("uploads", load, attack)


async def webhooks(arena: Arena) -> Outcome:
    """Have news of 100 jobs told to receivers that never answer, at 20 addresses, beside one that does."""
    async with receivers() as receiver:
        hosts = itertools.cycle(f"127.0.1.{number}" for number in range(1, 21))

        async def attack(bad: Tenant) -> None:
            def hook() -> dict[str, str]:
                return {"url": f"http://{next(hosts)}:{receiver.silent_port}/"}

            await together(*(bad.submit("true", webhook=hook()) for _ in range(100)), at_once=20)
            await forever()

        async def load(good: Tenant) -> Sequence[float]:
            async def told() -> float:
                hook = {"url": f"http://127.0.0.1:{receiver.port}/"}
                job = await good.run(JOB, webhook=hook)
                ended = time.monotonic()
                await receiver.heard_of(str(job["id"]))
                return time.monotonic() - ended

            return await together(*(told() for _ in range(JOBS)))

        return await arena.compare("webhooks", load, attack)


async def jobs(good: Tenant) -> Sequence[float]:
    """The usual load: jobs that are submitted at once; returns how long each took to its end."""
    return await together(*(timed(good.run(JOB)) for _ in range(JOBS)))


async def together(*works: Coroutine[None, None, _T], at_once: int = 1000) -> list[_T]:
    """Do things at once, but no more than so many at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(work: Coroutine[None, None, _T]) -> _T:
        async with places:
            return await work

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(work)) for work in works]
    finally:
        for work in works:
            work.close()  # those that were not begun
    return [task.result() for task in tasks]


async def forever() -> None:
    """Wait to be cancelled."""
    await asyncio.Event().wait()


async def stalled(bad: Tenant, size: int) -> None:
    """Send a request whose body comes but for its last byte, and wait for what is answered."""
    where = urlsplit(bad.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {bad.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(head.encode() + b" " * (size - 1))
            line = await reader.readline()
            status = int(line.split()[1]) if line else 0
            bad.answers[status] += 1
            bad.through -= status in (429, 503)
    finally:
        writer.close()
